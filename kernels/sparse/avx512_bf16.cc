// bf16 W of format csr, bitmap, 2to4 or bsr with vdpbf16ps: twice the products of an fp32 FMA.
//
// Idea: a lane holds two neighbouring columns of one row; bitmaps (csr and 2to4 as such) are
// expanded by vpexpandw in registers, a vector ahead of the products; the first strip of tokens
// keeps what it expands for those that follow (pair_panels.h).
// Bottleneck: vdpbf16ps; reading W when there are few tokens. Zeros are multiplied.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx512_bf16.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/pair_bitmap.h"
#include "kernels/sparse/panels.h"

#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,avx512bf16,avx2,fma,f16c,bmi2,popcnt")
#include "kernels/sparse/bsr_panels.h"
#include "kernels/sparse/pair_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <int kVectors>
std::unique_ptr<PanelWeights> weights(const SparseProblem& p, std::span<const Tensor> in) {
  if (p.format == SparseFormat::kBsr) {
    return std::make_unique<BsrPanels<SparseAvx512Bf16, DType::kBf16, 2>>(p, in);
  }
  return std::make_unique<PairBitmapPanels<SparseAvx512Bf16, kVectors>>(p, in);
}

template <int kVectors>
std::unique_ptr<Prepared> prepare_panels(const SparseProblem& p, std::span<const Tensor> in,
                                         ThreadPool& pool) {
  return std::make_unique<PanelSparse>(p, in, pair_panel_isa<SparseAvx512Bf16, kVectors>(),
                                       weights<kVectors>(p, in), pool.size());
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const SparseProblem p = SparseProblem::from(problem);
  int vectors = panel_vectors<SparseAvx512Bf16>(p.M);
  if (p.format == SparseFormat::kBsr) vectors = p.block == SparseAvx512Bf16::kLanes ? 1 : 2;
  switch (vectors) {
    case 1:
      return prepare_panels<1>(p, in, pool);
    case 4:
      return prepare_panels<4>(p, in, pool);
    default:
      return prepare_panels<2>(p, in, pool);
  }
}

const Registration registration{{
    .op = "sparse",
    .name = "avx512_bf16",
    .summary = "vdpbf16ps on pairs of columns, bitmaps expanded by vpexpandw",
    .needs = static_cast<IsaSet>(Isa::kAvx512) | Isa::kAvx512Bf16 | Isa::kAvx512Vbmi2,
    .limits = {{.key = "format",
                .values = {"csr", "bitmap", "2to4", "bsr16", "bsr32", "bsr64", "bsr128"}},
               {.key = "dtype", .values = {"bf16"}}},
    .arithmetic = multiplies_zeros_in_pairs,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
