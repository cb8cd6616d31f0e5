// fp32 FMA products with AVX-512 for operands in fp32, bf16 and fp16.
//
// Idea: W lies in panels of 32 columns, in its own type; the 12 × 32 register tile widens 16-bit
// panels as it loads them. 16-bit x is widened while it is packed, fp32 x read where it lies.
// Bottleneck: FMA units at large M; reading W at M ≤ 8.
// Layout: f32_gemm.h; x strips [⌈K/16⌉][≤ 12][16] fp32.
#include "harness/variant.h"
#include "kernels/qgemm/f32_gemm_avx512.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<F32Qgemm<F32Avx512>>(QgemmProblem::from(problem), in[kQgemmW],
                                               in[kQgemmBias], pool);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_f32",
    .summary = "12x32 tiles of fp32 FMA; 16-bit weights widened as they are loaded",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "scheme", .values = {"fp32", "bf16", "fp16"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
