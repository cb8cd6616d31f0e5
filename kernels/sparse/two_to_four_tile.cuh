// One tile of y = x · Wᵀ for many tokens, W in 2:4 units (two_to_four_units.h, windows in order):
// mma.sp on operands that cp.async brings into a ring of stages. For the device and for the host
// emulator.
//
// Per stage 64 columns: W's 8 units as packed, which lanes read in whole chunks of 16 bytes, and
// 128 tokens of x in rows of 128 bytes, whose chunks are XORed with the row: the 8 rows that one
// ldmatrix phase reads then lie in 8 different 16-byte columns of the banks. Of the sparse operand
// 4 registers serve as much as 8 dense ones, so that x is most of what is read: a warp takes 64
// rows of W at once.
#pragma once

#include <cstdint>

#include "kernels/sparse/two_to_four_rows.cuh"

namespace pareto::cuda {

/// kCountWarpTokens: of a warp's part of the tile, 32 or 64.
template <int kCountWarpTokens>
struct TwoToFourTile {
  using U = TwoToFourUnit;
  static constexpr int kRowTiles = U::kTogether;
  static constexpr int kRows = kRowTiles * U::kRows;
  static constexpr int kTokens = 128;
  static constexpr int kWarpRowTiles = 4;
  static constexpr int kWarpTokens = kCountWarpTokens;
  static constexpr int kWarpBlocks = kWarpTokens / 8;
  static constexpr int kWarpsRows = kRowTiles / kWarpRowTiles;
  static constexpr int kWarps = kWarpsRows * (kTokens / kWarpTokens);
  static constexpr int kThreads = kWarps * kWarpLanes;
  static constexpr int kStages = 4;
  static constexpr int kWeightBytes = kRowTiles * U::kBytes;
  static constexpr int kTokenChunks = U::kColumns / 8;  ///< of 16 bytes in a row of x
  static constexpr int kStageBytes = kWeightBytes + kTokens * kTokenChunks * 16;
  /// Row of y's transposed tile in shared memory, in floats, as in warp_shares.cuh.
  static constexpr int kSumStride = kRows + 4;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  static_assert(kTokens * kSumStride * 4 <= kSharedBytes, "the sums lie where the stages were");

  static constexpr std::uint32_t token_chunk(int token, int chunk) {
    return static_cast<std::uint32_t>(kWeightBytes +
                                      (token * kTokenChunks + (chunk ^ token % 8)) * 16);
  }
  static constexpr std::uint32_t sum_place(int token, int row) {
    return static_cast<std::uint32_t>((token * kSumStride + row) * 4);
  }
};

/// Starts this thread's share of the copies of one stage; what lies beyond x is zero.
template <typename T, typename Lane>
__device__ void load_two_to_four_stage(Lane& lane, const TwoToFourProblem& p, std::int64_t row,
                                       std::int64_t token, std::int64_t unit, int stage) {
  using U = TwoToFourUnit;
  const auto base = static_cast<std::uint32_t>(stage * T::kStageBytes);
  const auto* weights =
      reinterpret_cast<const std::uint16_t*>(p.words + two_to_four_place(row / 16, unit, p.units));
#pragma unroll
  for (int item = 0; item < T::kWeightBytes / 16; item += T::kThreads) {
    const int chunk = item + lane.thread();
    if (chunk < T::kWeightBytes / 16) {
      lane.copy_chunk(base + static_cast<std::uint32_t>(16 * chunk), weights + 8 * chunk, 8, true);
    }
  }
#pragma unroll
  for (int i = 0; i < T::kTokens * T::kTokenChunks / T::kThreads; ++i) {
    const int item = lane.thread() + i * T::kThreads;
    const int line = item / T::kTokenChunks;
    const int chunk = item % T::kTokenChunks;
    const std::int64_t k = unit * U::kColumns + 8 * chunk;
    const std::int64_t left = token + line < p.M ? p.K - k : 0;
    const int valid = static_cast<int>(left < 0 ? 0 : left < 8 ? left : std::int64_t{8});
    lane.copy_chunk(base + T::token_chunk(line, chunk),
                    valid == 0 ? p.x : p.x + (token + line) * p.K + k, valid, p.K % 8 == 0);
  }
}

/// Adds the products of one stage to this thread's accumulators.
template <typename T, typename Lane>
__device__ void multiply_two_to_four_stage(Lane& lane, int stage,
                                           float (&sum)[T::kWarpRowTiles][T::kWarpBlocks][4]) {
  using U = TwoToFourUnit;
  const int warp = lane.thread() / kWarpLanes;
  const int l = lane.thread() % kWarpLanes;
  const int row_tile = warp % T::kWarpsRows * T::kWarpRowTiles;
  const int token = warp / T::kWarpsRows * T::kWarpTokens;
  const auto base = static_cast<std::uint32_t>(stage * T::kStageBytes);
  std::uint32_t meta[T::kWarpRowTiles];
#pragma unroll
  for (int i = 0; i < T::kWarpRowTiles; ++i) {
    meta[i] = lane.load_word(
        base + static_cast<std::uint32_t>((row_tile + i) * U::kBytes + 4 * (U::kMetaWord + l)));
  }
#pragma unroll
  for (int step = 0; step < U::kSteps; ++step) {
    std::uint32_t a[T::kWarpRowTiles][4];
#pragma unroll
    for (int i = 0; i < T::kWarpRowTiles; ++i) {
      lane.load_four_words(base + static_cast<std::uint32_t>((row_tile + i) * U::kBytes +
                                                             4 * (U::kStepWords * step + 4 * l)),
                           a[i]);
    }
#pragma unroll
    for (int b = 0; b < T::kWarpBlocks; ++b) {
      std::uint32_t x[4];  // 32 columns of 8 tokens: matrix q holds columns 8q … 8q + 7
      lane.load_matrices(x, base + T::token_chunk(token + 8 * b + l % 8, 4 * step + l / 8));
#pragma unroll
      for (int i = 0; i < T::kWarpRowTiles; ++i) {
        if (step == 0) {
          lane.template multiply_sparse<0>(sum[i][b], a[i], x, meta[i]);
        } else {
          lane.template multiply_sparse<1>(sum[i][b], a[i], x, meta[i]);
        }
      }
    }
  }
}

/// The whole tile, which begins at (row, token), multiples of 128: calls store(token, row, sum) for
/// this thread's elements inside of y.
template <typename T, typename Lane, typename Store>
__device__ void two_to_four_tile(Lane& lane, const TwoToFourProblem& p, std::int64_t row,
                                 std::int64_t token, const Store& store) {
  float sum[T::kWarpRowTiles][T::kWarpBlocks][4] = {};
  const int units = static_cast<int>(p.units);
#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s) {
    if (s < units) load_two_to_four_stage<T>(lane, p, row, token, s, s);
    lane.commit_copies();
  }
  int stage = 0;
  int filled = T::kStages - 1;  // the stage that the next copies go to
#pragma unroll 1
  for (int unit = 0; unit < units; ++unit) {
    lane.template wait_copies<T::kStages - 2>();
    // After it this unit's stage is there for all, and the last unit's stage is free.
    lane.barrier();
    const int ahead = unit + T::kStages - 1;
    if (ahead < units) load_two_to_four_stage<T>(lane, p, row, token, ahead, filled);
    lane.commit_copies();
    multiply_two_to_four_stage<T>(lane, stage, sum);
    stage = stage + 1 == T::kStages ? 0 : stage + 1;
    filled = filled + 1 == T::kStages ? 0 : filled + 1;
  }
  lane.barrier();  // the last stage has been read by all
  const int warp = lane.thread() / kWarpLanes;
#pragma unroll
  for (int i = 0; i < T::kWarpRowTiles; ++i) {
#pragma unroll
    for (int b = 0; b < T::kWarpBlocks; ++b) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const Element at = mma_d32(lane.thread() % kWarpLanes, e);
        lane.store_shared(T::sum_place(warp / T::kWarpsRows * T::kWarpTokens + 8 * b + at.column,
                                       16 * (warp % T::kWarpsRows * T::kWarpRowTiles + i) + at.row),
                          sum[i][b][e]);
      }
    }
  }
  lane.barrier();
  for (int e = lane.thread(); e < T::kTokens * T::kRows; e += T::kThreads) {
    const std::int64_t m = token + e / T::kRows;
    const std::int64_t n = row + e % T::kRows;
    if (m < p.M && n < p.N) store(m, n, lane.load_shared(T::sum_place(e / T::kRows, e % T::kRows)));
  }
}

}  // namespace pareto::cuda
