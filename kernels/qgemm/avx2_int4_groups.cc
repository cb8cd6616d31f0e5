// Group-wise products of nibbles with AVX2: x quantized to s8 per group of 32 or 128, W in 4 bits
// with a scale per group (w4a8_g128, q4_0_a8, q4_k_a8).
//
// Idea: vpmaddubsw on unsigned nibbles, summed up in s16 over a whole group.
// Bottleneck: vector instructions; reading W at M ≤ 4.
// Layout: group_runs_avx2.h.
#include "kernels/qgemm/group_gemm_avx2.h"

namespace pareto {
namespace {

template <typename Format>
std::unique_ptr<Prepared> make(const QgemmProblem& p, std::span<const Tensor> in,
                               ThreadPool& pool) {
  return std::make_unique<GroupQgemmAvx2<Format>>(p, in, pool);
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  switch (p.w_kind) {
    case WKind::kQ4Block:
      return make<PlainGroupsAvx2<32, true>>(p, in, pool);
    case WKind::kQ4kBlock:
      return make<Q4kGroupsAvx2>(p, in, pool);
    default:
      return make<PlainGroupsAvx2<128, true>>(p, in, pool);
  }
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx2_int4_groups",
    .summary = "4x16 tiles of vpmaddubsw on nibbles, s16 sums of 32 or 64, fp32 sums per group",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme", .values = {"w4a8_g128", "q4_0_a8", "q4_k_a8"}}},
    .arithmetic = group_arithmetic_avx2,
    .prepare = prepare,
    .unit = "avx2_int4",
}};

}  // namespace
}  // namespace pareto
