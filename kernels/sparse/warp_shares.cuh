// What tile loops of few tokens have in common, whose warps share out the columns: x read from
// global memory as fragments B, and the warps' sums added and stored. For the device and for the
// host emulator.
//
// A tile T says kWarps, kThreads, kBlocks (of 8 tokens), kTokens, kRowTiles (of 16 rows of W) and
// kRows; a warp's sums are [kRowTiles][kBlocks][4], y transposed: rows are rows of W.
#pragma once

#include <cstdint>

#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

/// 8 elements of a row of x.
struct alignas(16) TokenChunk {
  std::uint32_t pair[4] = {};
};

/// Columns k … k+7 of a row of x, which may be null; zeros beyond K. `aligned`: the row begins at a
/// 16-byte boundary and K is a multiple of 8.
__device__ inline TokenChunk load_tokens(const std::uint16_t* row, std::int64_t k, std::int64_t K,
                                         bool aligned) {
  TokenChunk chunk;
  if (row == nullptr || k >= K) return chunk;
  if (aligned) return *reinterpret_cast<const TokenChunk*>(row + k);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (k + i < K) chunk.pair[i / 2] |= static_cast<std::uint32_t>(row[k + i]) << 16 * (i % 2);
  }
  return chunk;
}

/// part(first) + … + part(first + kCount − 1), kCount a power of two.
template <int kCount, typename Part>
__device__ float sum_in_pairs(const Part& part, int first) {
  if constexpr (kCount == 1) {
    return part(first);
  } else {
    return sum_in_pairs<kCount / 2>(part, first) +
           sum_in_pairs<kCount / 2>(part, first + kCount / 2);
  }
}

/// A token's sums in shared memory, in floats: 4 more, so that the 8 rows and 4 tokens of one store
/// lie in 32 banks.
template <typename T>
constexpr int sum_stride() {
  return T::kRows + 4;
}
template <typename T>
constexpr int sum_bytes() {
  return T::kWarps * T::kTokens * sum_stride<T>() * 4;
}
template <typename T>
constexpr std::uint32_t sum_offset(int warp, int token, int row) {
  return static_cast<std::uint32_t>(((warp * T::kTokens + token) * sum_stride<T>() + row) * 4);
}

struct LayerShape {
  std::int64_t M = 0;
  std::int64_t N = 0;
};

/// Adds the warps' sums in pairs, through sum_bytes() of shared memory from `base` on, which nobody
/// uses any more; calls store(token, row, sum) for this thread's elements inside of y. The tile
/// begins at (row, token).
template <typename T, typename Lane, typename Store>
__device__ void store_sums_of_warps(Lane& lane, const float (&sum)[T::kRowTiles][T::kBlocks][4],
                                    std::uint32_t base, const LayerShape& y, std::int64_t row,
                                    std::int64_t token, const Store& store) {
#pragma unroll
  for (int i = 0; i < T::kRowTiles; ++i) {
#pragma unroll
    for (int b = 0; b < T::kBlocks; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const Element at = mma_d32(lane.thread() % kWarpLanes, e);
        lane.store_shared(
            base + sum_offset<T>(lane.thread() / kWarpLanes, 8 * b + at.column, 16 * i + at.row),
            sum[i][b][e]);
      }
    }
  }
  lane.barrier();
  for (int e = lane.thread(); e < T::kTokens * T::kRows; e += T::kThreads) {
    const float all = sum_in_pairs<T::kWarps>(
        [&](int warp) {
          return lane.load_shared(base + sum_offset<T>(warp, e / T::kRows, e % T::kRows));
        },
        0);
    const std::int64_t m = token + e / T::kRows;
    const std::int64_t n = row + e % T::kRows;
    if (m < y.M && n < y.N) store(m, n, all);
  }
}

}  // namespace pareto::cuda
