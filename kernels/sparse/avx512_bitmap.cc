// W of format bitmap, or csr as one, with AVX-512: nonzeros expanded into lanes over rows of W,
// then dense tiles.
//
// Idea: W is read packed, one bit per place and the nonzeros (bitmap_panels.h).
// Bottleneck: expansion and FMA; reading W when there are few tokens. Zeros are multiplied.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx512.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/panels.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2,popcnt")
#include "kernels/sparse/bitmap_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <DType kT, int kVectors>
std::unique_ptr<Prepared> prepare_panels(const SparseProblem& p, std::span<const Tensor> in,
                                         ThreadPool& pool) {
  return std::make_unique<PanelSparse>(
      p, in, panel_isa<SparseAvx512, kVectors>(),
      std::make_unique<BitmapPanels<SparseAvx512, kT, kVectors>>(p, in), pool.size());
}

template <DType kT>
std::unique_ptr<Prepared> prepare_as(const SparseProblem& p, std::span<const Tensor> in,
                                     ThreadPool& pool) {
  switch (panel_vectors<SparseAvx512>(p.M)) {
    case 1:
      return prepare_panels<kT, 1>(p, in, pool);
    case 4:
      return prepare_panels<kT, 4>(p, in, pool);
    default:
      return prepare_panels<kT, 2>(p, in, pool);
  }
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
    .name = "avx512_bitmap",
    .summary = "bitmap expanded in registers (few tokens) or ahead of dense tiles",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "format", .values = {"csr", "bitmap"}}},
    .arithmetic = multiplies_zeros,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
