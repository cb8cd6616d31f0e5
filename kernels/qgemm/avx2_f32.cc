// fp32 products with AVX2 and FMA, for operands in fp32, bf16 and fp16.
//
// Idea: as avx512_f32 with 6 × 16 tiles.
// Bottleneck: FMA units at large M; reading W at M ≤ 4.
// Layout: f32_gemm.h, panels of 16 columns; x strips [⌈K/16⌉][≤ 6][16] fp32.
#include "harness/variant.h"
#include "kernels/qgemm/f32_gemm_avx2.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<F32Qgemm<F32Avx2>>(QgemmProblem::from(problem), in[kQgemmW],
                                             in[kQgemmBias], pool);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx2_f32",
    .summary = "6x16 tiles of fp32 FMA; 16-bit weights widened as they are loaded",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme", .values = {"fp32", "bf16", "fp16"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
