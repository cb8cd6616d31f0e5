// Group-wise int8 products with AVX2: x quantized to s8 per group of 32, W in 8 bits with a scale
// per group (q8_0_a8).
//
// Idea: vpmaddubsw on |w| and x with w's sign, vpmaddwd with ones, vpaddd: four instructions for 32
// products, and nothing to widen.
// Bottleneck: vector instructions; reading W at M ≤ 4.
// Layout: group_runs_avx2.h.
#include "kernels/qgemm/group_gemm_avx2.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<GroupQgemmAvx2<PlainGroupsAvx2<32, false>>>(QgemmProblem::from(problem),
                                                                      in, pool);
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx2_int8_groups",
    .summary = "4x16 tiles of vpmaddubsw on magnitudes and signed x, fp32 sums per group",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme", .values = {"q8_0_a8"}}},
    .arithmetic = group_arithmetic_avx2,
    .prepare = prepare,
    .unit = "avx2_int8",
}};

}  // namespace
}  // namespace pareto
