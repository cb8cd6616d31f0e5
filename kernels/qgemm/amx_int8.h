// The AMX int8 kernel, over either implementation of the tiles.
#pragma once

#include "kernels/qgemm/amx_gemm.h"
#include "kernels/qgemm/int8_gemm_avx512.h"

namespace pareto {

/// s8 · s8 needs no raised codes.
template <typename Amx>
struct AmxInt8Kernel {
  static constexpr int kPerStep = 64;
  static constexpr int kStepDwords = kAmxStepDwords;
  static constexpr int kRowStride = kAmxRowBytes;
  static constexpr std::uint8_t kRaise = 0;
  using Gemm = AmxGemm<Amx, AmxS8>;
  static Gemm gemm(StoreFunction store, const QgemmProblem& p, std::int64_t steps, int threads) {
    return Gemm(store, p.M, p.N, steps, threads);
  }
};

template <typename Amx>
std::unique_ptr<Prepared> prepare_amx_int8(const Problem& problem, std::span<const Tensor> in,
                                           ThreadPool& pool) {
  return std::make_unique<Int8Qgemm<AmxInt8Kernel<Amx>>>(QgemmProblem::from(problem), in, pool);
}

}  // namespace pareto
