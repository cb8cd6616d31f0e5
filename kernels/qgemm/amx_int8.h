// The AMX int8 kernel, over either implementation of the tiles.
#pragma once

#include "kernels/qgemm/int8_gemm_avx512.h"
#include "kernels/qgemm/tile_amx.h"

namespace pareto {

/// s8 · s8 needs no raised codes.
template <typename Amx>
struct AmxInt8Kernel {
  static constexpr int kPerStep = 64;
  static constexpr int kStepDwords = kAmxStepDwords;
  static constexpr int kRowStride = kAmxRowBytes;
  static constexpr std::uint8_t kRaise = 0;
  static TileSet tile_set(StoreFunction store) { return amx_tile_set<Amx, AmxS8>(store); }
};

template <typename Amx>
std::unique_ptr<Prepared> prepare_amx_int8(const Problem& problem, std::span<const Tensor> in,
                                           ThreadPool& pool) {
  return std::make_unique<Int8Qgemm<AmxInt8Kernel<Amx>>>(QgemmProblem::from(problem), in, pool);
}

}  // namespace pareto
