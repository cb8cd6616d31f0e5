// Sparse layers with bf16 products in AMX, over either implementation of the tiles.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "harness/variant.h"
#include "kernels/amx_tile.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/sparse/lanes_avx512_bf16.h"
#include "kernels/sparse/pair_bitmap.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/step_panels.h"
#include "kernels/sparse/written_out.h"

#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,avx512bf16,avx2,fma,f16c,bmi2,popcnt")
#include "kernels/sparse/amx_bitmap.h"
#include "kernels/sparse/amx_steps.h"
#pragma GCC pop_options

namespace pareto {

template <typename Amx, typename Weights>
std::unique_ptr<Prepared> prepare_amx_weights(const SparseProblem& p, std::span<const Tensor> in,
                                              ThreadPool& pool, Weights weights) {
  using Floats = SparseAvx512Bf16::Floats;
  return std::make_unique<AmxSparse<Amx, Floats, Weights>>(p, in, std::move(weights), pool.size());
}

/// Formats bitmap, csr (as a bitmap), 2to4 and bsr.
template <typename Amx>
std::unique_ptr<Prepared> prepare_sparse_amx_bf16(const Problem& problem,
                                                  std::span<const Tensor> in, ThreadPool& pool) {
  const SparseProblem p = SparseProblem::from(problem);
  if (p.format != SparseFormat::kBsr) {
    return prepare_amx_weights<Amx>(p, in, pool, AmxBitmap<SparseAvx512Bf16>(p, in));
  }
  const std::int64_t steps = amx_steps(p.K);
  if (p.block == StepPanels::kHalfColumns) {
    return prepare_amx_weights<Amx>(p, in, pool, AmxSteps<1>(steps, StepPanels(p, in)));
  }
  return prepare_amx_weights<Amx>(p, in, pool, AmxSteps<2>(steps, StepPanels(p, in)));
}

/// Every format but lowrank, written out densely.
template <typename Amx>
std::unique_ptr<Prepared> prepare_sparse_amx_dense_bf16(const Problem& problem,
                                                        std::span<const Tensor> in,
                                                        ThreadPool& pool) {
  const SparseProblem p = SparseProblem::from(problem);
  const std::int64_t steps = amx_steps(p.K);
  const std::int64_t columns = steps * StepPanels::kStepColumns;
  const AlignedBuffer<std::byte> dense = written_out(p, in, columns);
  StepPanels w(reinterpret_cast<const std::uint16_t*>(dense.data()), p.N, columns);
  return prepare_amx_weights<Amx>(p, in, pool, AmxSteps<2>(steps, std::move(w)));
}

inline constexpr IsaSet kSparseAmxNeeds =
    Isa::kAvx512 | Isa::kAvx512Bf16 | Isa::kAvx512Vbmi2 | Isa::kAmxBf16;

}  // namespace pareto
