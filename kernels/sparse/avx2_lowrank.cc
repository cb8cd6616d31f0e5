// Low-rank W = A·B with AVX2: two dense products, lanes over rows of B and then of A.
//
// Idea: 2·M·rank·(N + K) operations instead of 2·M·N·K; x·Bᵀ stays in fp32 (dense_panels.h).
// Bottleneck: FMA units; reading A and B when there are few tokens.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx2.h"
#include "kernels/sparse/low_rank.h"
#include "kernels/sparse/panels.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")
#include "kernels/sparse/dense_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <DType kT>
std::unique_ptr<Prepared> prepare_as(const SparseProblem& p, std::span<const Tensor> in,
                                     ThreadPool& pool) {
  return std::make_unique<LowRankSparse>(
      p, in, panel_isa<SparseAvx2>(),
      std::make_unique<DensePanels<SparseAvx2, kT, 2>>(in[kSparseA]),
      std::make_unique<DensePanels<SparseAvx2, kT, 2>>(in[kSparseB]), pool.size());
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const SparseProblem p = SparseProblem::from(problem);
  switch (p.dtype) {
    case DType::kF32:
      return prepare_as<DType::kF32>(p, in, pool);
    case DType::kBf16:
      return prepare_as<DType::kBf16>(p, in, pool);
    default:
      return prepare_as<DType::kF16>(p, in, pool);
  }
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "avx2_lowrank",
    .summary = "two dense products through fp32, lanes over rows of B and of A",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "format", .values = {"lowrank"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
