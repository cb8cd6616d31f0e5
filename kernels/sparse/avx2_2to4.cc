// 2:4 W with AVX2: half the products of a dense tile for few tokens, dense tiles for many; lanes
// over rows of W.
//
// Idea: each row's two values of a group meet the x that vpermilps picks by their indices
// (two_to_four_panels.h). That is one permutation per product: with more tokens than a tile has,
// written out ahead of the dense product (tiled_layer_avx2.h) they take less time.
// Bottleneck: FMA units; reading W when there are few tokens. Fillings are multiplied, and with
// many tokens all that is pruned.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx2.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/tiled_layer_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")
#include "kernels/sparse/two_to_four_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <DType kT>
std::unique_ptr<Prepared> prepare_as(const SparseProblem& p, std::span<const Tensor> in,
                                     ThreadPool& pool) {
  using Panels = TwoToFourPanels<SparseAvx2, kT>;
  const bool one_strip = p.M <= kStripHeights<SparseAvx2, 2>.back();
  if (!one_strip) return expanded_layer<Panels>(p, in, pool);
  return std::make_unique<PanelSparse>(p, in, panel_isa<SparseAvx2>(),
                                       std::make_unique<Panels>(p, in), pool.size());
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
    .name = "avx2_2to4",
    .summary = "two products per group of four, x picked in registers; many tokens: dense tiles",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "format", .values = {"2to4"}}},
    .arithmetic = multiplies_zeros,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
