// Weight-only schemes, fp8 and groups of int8 as fp32 products: W decoded to fp32 in
// `prepare`, whatever the instruction set.
#pragma once

#include <memory>
#include <span>

#include "harness/variant.h"
#include "kernels/qgemm/decoded_w.h"
#include "kernels/qgemm/f32_gemm.h"
#include "reference/qgemm.h"

namespace pareto {

/// `Simd` as f32_gemm.h wants it.
template <typename Simd>
std::unique_ptr<Prepared> prepare_decoded(const Problem& problem, std::span<const Tensor> in,
                                          ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  AlignedBuffer<float> w = decoded_w(p, in, pool);
  const Tensor view{DType::kF32, Shape{p.N, p.K}, reinterpret_cast<std::byte*>(w.data())};
  return std::make_unique<F32Qgemm<Simd>>(p, view, in[kQgemmBias], pool);
}

inline Arithmetic decoded_arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.u_operand = decoding_error(p);
  a.epilogue_roundings = p.has_bias ? 1 : 0;
  return a;
}

template <typename Simd>
Limit decoded_schemes() {
  Limit limit{.key = "scheme",
              .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "q8_0", "q4_0", "q4_k",
                         "nf4_g64", "mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "nvfp4"}};
  if (Simd::kQuantizesX) {
    limit.values.insert(limit.values.end(), {"w4a8_g128", "q8_0_a8", "q4_0_a8", "q4_k_a8",
                                             "fp8_e4m3", "fp8_e5m2", "fp8_e4m3_block128", "mxfp8"});
  }
  return limit;
}

}  // namespace pareto
