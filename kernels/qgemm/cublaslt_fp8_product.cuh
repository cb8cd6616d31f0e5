// What the cuBLASLt baselines in fp8 E4M3 with one scale per row share; with and without promotion
// of their sums to fp32.
//
// x is quantized by a kernel of ours inside `run`; the library multiplies the codes, and another
// kernel applies the scales of both rows.
#pragma once

#include <memory>
#include <string>

#include "kernels/qgemm/cublaslt_product.cuh"

namespace pareto {

inline constexpr LtTypes kLtFp8Types{.x = CUDA_R_8F_E4M3, .w = CUDA_R_8F_E4M3, .y = CUDA_R_32F};

/// Hopper sums fp8 products in 13 bits, 32 at once, and cuts off; the library promotes to fp32
/// every 128 of K unless it is told to be fast.
inline Arithmetic lt_fp8_arithmetic(const Problem& problem, bool fast) {
  Arithmetic a;
  a.u_acc = 0x1p-13;
  a.acc_truncates = true;
  a.acc_bits = 13;
  a.acc_block = 32;
  a.acc_promote = fast ? 0 : 128;
  a.epilogue_roundings = 3 + (QgemmProblem::from(problem).has_bias ? 1 : 0);
  return a;
}

/// The variant of that name.
template <bool kFast>
Variant lt_fp8_variant(const std::string& name, const std::string& summary) {
  return {
      .op = "qgemm",
      .name = name,
      .summary = summary,
      .needs_cuda = 90,
      // The library's fp8 kernels want rows of whole 16 bytes.
      .limits = {{.key = "scheme", .values = {"fp8_e4m3"}},
                 {.key = "operands", .values = {"float"}},
                 {.key = "N", .multiple_of = 16},
                 {.key = "K", .multiple_of = 16}},
      .arithmetic = [](const Problem& problem) { return lt_fp8_arithmetic(problem, kFast); },
      .prepare = [](const Problem& problem, std::span<const Tensor> /*in*/,
                    ThreadPool& /*pool*/) -> std::unique_ptr<Prepared> {
        LtTypes types = kLtFp8Types;
        types.fast_accumulation = kFast;
        return std::make_unique<LtCodes<CodesE4m3>>(QgemmProblem::from(problem), types);
      },
      .keeps_operands = true,
      .baseline = true,
      .unit = "cuda_tensor_fp8",
  };
}

}  // namespace pareto
