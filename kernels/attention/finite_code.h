// Whether what packing moves about as codes is a finite number: for portable code, an inline
// function.
#pragma once

#include <cstdint>

#include "harness/tensor.h"

namespace pareto {

/// One-byte types are refused unless finite, before kernels see them.
inline bool is_finite_code(std::uint32_t code, DType dtype) {
  std::uint32_t exponent = 0;
  if (dtype == DType::kF32) exponent = 0x7f800000;
  if (dtype == DType::kBf16) exponent = 0x7f80;
  if (dtype == DType::kF16) exponent = 0x7c00;
  return exponent == 0 || (code & exponent) != exponent;
}

}  // namespace pareto
