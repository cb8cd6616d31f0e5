// The AMX bf16 kernel, over either implementation of the tiles.
#pragma once

#include "kernels/qgemm/amx_gemm.h"
#include "kernels/qgemm/bf16_gemm_avx512.h"

namespace pareto {

template <typename Amx>
struct AmxBf16Kernel {
  static constexpr int kPerStep = 32;
  static constexpr int kStepDwords = kAmxStepDwords;
  static constexpr int kRowStride = kAmxRowBytes;
  using Gemm = AmxGemm<Amx, AmxBf16>;
  static Gemm gemm(StoreFunction store, const QgemmProblem& p, std::int64_t steps, int threads) {
    return Gemm(store, p.M, p.N, steps, threads);
  }
};

template <typename Amx>
std::unique_ptr<Prepared> prepare_amx_bf16(const Problem& problem, std::span<const Tensor> in,
                                           ThreadPool& pool) {
  return std::make_unique<Bf16Qgemm<AmxBf16Kernel<Amx>>>(QgemmProblem::from(problem), in, pool);
}

}  // namespace pareto
