// 2:4 W with AVX-512: half the products of a dense tile, lanes over rows of W.
//
// Idea: each row's two values of a group meet the x that vpermilps picks by their indices
// (two_to_four_panels.h).
// Bottleneck: one permutation per FMA; reading W when there are few tokens. Fillings are
// multiplied.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx512.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/panels.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2,popcnt")
#include "kernels/sparse/two_to_four_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <DType kT>
std::unique_ptr<Prepared> prepare_as(const SparseProblem& p, std::span<const Tensor> in,
                                     ThreadPool& pool) {
  return std::make_unique<PanelSparse>(p, in, panel_isa<SparseAvx512>(),
                                       std::make_unique<TwoToFourPanels<SparseAvx512, kT>>(p, in),
                                       pool.size());
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

const Registration registration{{
    .op = "sparse",
    .name = "avx512_2to4",
    .summary = "two products per group of four: x picked by in-register permutation",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "format", .values = {"2to4"}}},
    .arithmetic = multiplies_zeros,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
