// What variants of decode with bf16 dot products declare and decline.
#pragma once

#include "harness/arithmetic.h"
#include "harness/problem.h"
#include "harness/tensor.h"

namespace pareto {

/// vdpbf16ps rounds after each of a pair's two products.
inline Arithmetic decode_bf16_arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.u_exp = 0x1p-17;
  a.u_p = kUBf16;
  a.flushes_subnormals = true;
  a.kv_block = 32;
  return a;
}

/// "" or why q would lose digits.
inline const char* decode_bf16_declines_q(DType q) {
  return q == DType::kBf16 || q == DType::kE4m3 ? "" : "q in fp32 or fp16 would be rounded to bf16";
}

}  // namespace pareto
