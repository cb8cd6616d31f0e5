// What attention kernels with bf16 products have in common: operands that they take, arithmetic.
#pragma once

#include <string>

#include "harness/arithmetic.h"
#include "kernels/attention/row_blocks.h"
#include "reference/attention.h"

namespace pareto {

/// vdpbf16ps rounds after each of a pair's two products; AMX's chains are shorter.
inline Arithmetic bf16_attention_arithmetic(const Problem& problem) {
  Arithmetic a;
  a.u_exp = 0x1p-17;
  a.u_p = kUBf16;
  a.flushes_subnormals = true;
  a.kv_block = keys_per_block(AttentionProblem::from(problem));
  return a;
}

/// Why such a kernel declines the operands' types; empty if bf16 holds them exactly.
inline std::string inexact_in_bf16(const AttentionProblem& p) {
  const auto exact = [](DType dtype) {
    return dtype == DType::kBf16 || dtype == DType::kE4m3 || dtype == DType::kS8;
  };
  if (exact(p.q_dtype) && exact(p.kv_dtype)) return "";
  return "operands in fp32 or fp16 would be rounded to bf16";
}

}  // namespace pareto
