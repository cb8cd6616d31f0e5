// Not sparse: W written out densely ahead of time, for the dense tiles that other formats use, too.
// What a sparse format of ours has to beat.
//
// Idea: lanes over pairs of columns of a row of W, pairs of x broadcast (pair_panels.h).
// Bottleneck: vdpbf16ps; reading W when there are few tokens.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx512_bf16.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/pair_bitmap.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/written_out.h"

#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,avx512bf16,avx2,fma,f16c,bmi2,popcnt")
#include "kernels/sparse/dense_panels.h"
#include "kernels/sparse/pair_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <int kVectors>
std::unique_ptr<Prepared> prepare_panels(const SparseProblem& p, std::span<const Tensor> in,
                                         ThreadPool& pool) {
  const std::int64_t pairs = (p.K + 1) / 2;
  AlignedBuffer<std::byte> dense = written_out(p, in, 2 * pairs);
  // A pair of bf16 is carried as if it were a float.
  const Tensor w{DType::kF32, Shape{p.N, pairs}, dense.data()};
  return std::make_unique<PanelSparse>(
      p, in, pair_panel_isa<SparseAvx512Bf16, kVectors>(),
      std::make_unique<DensePanels<SparseAvx512Bf16, DType::kF32, kVectors>>(w), pool.size());
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const SparseProblem p = SparseProblem::from(problem);
  switch (panel_vectors<SparseAvx512Bf16>(p.M)) {
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
    .name = "avx512_dense_bf16",
    .summary = "not sparse: W written out densely ahead of time, then vdpbf16ps",
    .needs = static_cast<IsaSet>(Isa::kAvx512) | Isa::kAvx512Bf16 | Isa::kAvx512Vbmi2,
    .limits = {written_out_formats(), {.key = "dtype", .values = {"bf16"}}},
    .arithmetic = multiplies_zeros_in_pairs,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
