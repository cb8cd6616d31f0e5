// W of format bitmap, or csr as one, with AVX2: nonzeros expanded into lanes over rows of W, then
// dense tiles.
//
// Idea: W is read packed, one bit per place and the nonzeros: in registers (bitmap_panels.h), for
// many tokens ahead of the dense product (tiled_layer_avx2.h). 8 values of 16 bits meet a shuffle
// that their mask looks up, which puts each into its lane and widens bf16 as well.
// Bottleneck: expansion and FMA; reading W when there are few tokens. Zeros are multiplied.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx2.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/tiled_layer_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")
#include "kernels/sparse/bitmap_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <DType kT, int kVectors>
std::unique_ptr<Prepared> prepare_panels(const SparseProblem& p, std::span<const Tensor> in,
                                         ThreadPool& pool) {
  return std::make_unique<PanelSparse>(
      p, in, panel_isa<SparseAvx2, kVectors>(),
      std::make_unique<BitmapPanels<SparseAvx2, kT, kVectors>>(p, in), pool.size());
}

template <DType kT>
std::unique_ptr<Prepared> prepare_as(const SparseProblem& p, std::span<const Tensor> in,
                                     ThreadPool& pool) {
  const bool one_strip = p.M <= kStripHeights<SparseAvx2, 2>.back();
  if (!one_strip) return expanded_layer<BitmapPanels<SparseAvx2, kT, 2>>(p, in, pool);
  if (panel_vectors<SparseAvx2>(p.M) == 4) return prepare_panels<kT, 4>(p, in, pool);
  return prepare_panels<kT, 2>(p, in, pool);
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
    .name = "avx2_bitmap",
    .summary = "bitmap expanded in registers (few tokens) or ahead of dense tiles",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "format", .values = {"csr", "bitmap"}}},
    .arithmetic = multiplies_zeros,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
