// Block-sparse W with AVX2: each stored block is a dense tile, lanes over rows of W.
//
// Idea: the sums of a strip of tokens and a panel of rows stay in registers from block to block; x
// is broadcast. With many tokens a group of panels meets all strips by chunks of columns
// (bsr_panels.h). Bottleneck: FMA units; reading W when there are few tokens. Zeros inside blocks
// are multiplied.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx2.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/panels.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")
#include "kernels/sparse/bsr_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <DType kT>
std::unique_ptr<Prepared> prepare_as(const SparseProblem& p, std::span<const Tensor> in,
                                     ThreadPool& pool) {
  return std::make_unique<PanelSparse>(p, in, panel_isa<SparseAvx2>(),
                                       std::make_unique<BsrPanels<SparseAvx2, kT>>(p, in),
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
    .name = "avx2_bsr",
    .summary = "stored blocks as dense register tiles, lanes over rows of W",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "format", .values = {"bsr16", "bsr32", "bsr64", "bsr128"}}},
    .arithmetic = multiplies_zeros,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
