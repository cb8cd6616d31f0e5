// Not sparse: W written out densely ahead of time, for the dense tiles that other formats use, too.
// What a sparse format of ours has to beat.
//
// Idea: lanes over rows of W, x broadcast (dense_panels.h). Bottleneck: FMA units;
// reading W when there are few tokens.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx512.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/written_out.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2,popcnt")
#include "kernels/sparse/dense_panels.h"
#pragma GCC pop_options

namespace pareto {
namespace {

template <DType kT, int kVectors>
std::unique_ptr<Prepared> prepare_panels(const SparseProblem& p, std::span<const Tensor> in,
                                         ThreadPool& pool) {
  AlignedBuffer<std::byte> dense = written_out(p, in, p.K);
  const Tensor w{kT, Shape{p.N, p.K}, dense.data()};
  return std::make_unique<PanelSparse>(p, in, panel_isa<SparseAvx512, kVectors>(),
                                       std::make_unique<DensePanels<SparseAvx512, kT, kVectors>>(w),
                                       pool.size());
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
  return p.dtype == DType::kF32 ? prepare_as<DType::kF32>(p, in, pool)
                                : prepare_as<DType::kF16>(p, in, pool);
}

const Registration registration{{
    .op = "sparse",
    .name = "avx512_dense",
    .summary = "not sparse: W written out densely ahead of time, then fp32 FMA",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {written_out_formats(), {.key = "dtype", .values = {"fp32", "fp16"}}},
    .arithmetic = multiplies_zeros,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
