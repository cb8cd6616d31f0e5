// Decoding rows of attention's operands to fp32, for kernels of any instruction set.
#pragma once

#include <cstdint>

#include "harness/tensor.h"

namespace pareto {

/// Elements [first, first + count) of a tensor in fp32, bf16, fp16, E4M3 or s8, times `scale`, each
/// rounded once. `out` holds `count` floats.
void decode_elements(const Tensor& tensor, std::int64_t first, std::int64_t count, float scale,
                     float* out);

}  // namespace pareto
