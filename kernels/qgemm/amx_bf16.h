// The AMX bf16 kernel, over either implementation of the tiles.
#pragma once

#include "kernels/qgemm/bf16_gemm_avx512.h"
#include "kernels/qgemm/tile_amx.h"

namespace pareto {

template <typename Amx>
struct AmxBf16Kernel {
  static constexpr int kPerStep = 32;
  static constexpr int kStepDwords = kAmxStepDwords;
  static constexpr int kRowStride = kAmxRowBytes;
  static TileSet tile_set(StoreFunction store) { return amx_tile_set<Amx, AmxBf16>(store); }
};

template <typename Amx>
std::unique_ptr<Prepared> prepare_amx_bf16(const Problem& problem, std::span<const Tensor> in,
                                           ThreadPool& pool) {
  return std::make_unique<Bf16Qgemm<AmxBf16Kernel<Amx>>>(QgemmProblem::from(problem), in, pool);
}

}  // namespace pareto
