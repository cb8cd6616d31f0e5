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

/// A thread's share of the copies of every stage, in order of columns; what lies beyond x is zero.
template <typename T, typename Lane>
class TwoToFourCopies {
  using U = TwoToFourUnit;
  static constexpr int kLines = T::kThreads / T::kTokenChunks;  ///< of x that all copy at once
  static constexpr int kTurns = T::kTokens / kLines;

 public:
  __device__ TwoToFourCopies(Lane& lane, const TwoToFourProblem& p, std::int64_t row,
                             std::int64_t token)
      : lane_(lane),
        K_(p.K),
        units_left_(static_cast<int>(p.units)),
        weights_(p.words + two_to_four_place(row / U::kRows, 0, p.units) + 4 * lane.thread()),
        line_(lane.thread() / T::kTokenChunks),
        chunk_(lane.thread() % T::kTokenChunks),
        column_(8 * chunk_) {
    const std::int64_t left = p.M - token - line_;
    // Lines line_, line_ + kLines, … below M.
    turns_ = left <= 0 ? 0 : static_cast<int>(left > T::kTokens ? T::kTokens : left);
    turns_ = (turns_ + kLines - 1) / kLines;
    x_ = turns_ == 0 ? p.x : p.x + (token + line_) * p.K + column_;
  }

  /// Starts the next stage's, if there is one, and ends this thread's group of copies.
  __device__ void next(int stage) {
    if (units_left_ > 0) {
      const auto base = static_cast<std::uint32_t>(stage * T::kStageBytes);
      copy_weights(base);
      if (K_ % 8 == 0) {
        copy_tokens(base);
      } else {
        copy_ragged_tokens(base);
      }
      --units_left_;
      weights_ += U::kTogether * U::kWords;
      x_ += U::kColumns;
      column_ += U::kColumns;
    }
    lane_.commit_copies();
  }

 private:
  __device__ void copy_weights(std::uint32_t base) {
    const auto* from = reinterpret_cast<const std::uint16_t*>(weights_);
    const std::uint32_t to = base + 16 * static_cast<std::uint32_t>(lane_.thread());
#pragma unroll
    for (int first = 0; first < T::kWeightBytes / 16; first += T::kThreads) {
      if (first + T::kThreads <= T::kWeightBytes / 16 ||
          first + lane_.thread() < T::kWeightBytes / 16) {
        lane_.copy_chunk(to + 16 * first, from + 8 * first, 8, true);
      }
    }
  }
  __device__ void copy_tokens(std::uint32_t base) {
    const int turns = column_ < K_ ? turns_ : 0;
    // The lines of all turns are swizzled alike.
    static_assert(kLines % 8 == 0);
    const std::uint32_t to = base + T::token_chunk(line_, chunk_);
#pragma unroll
    for (int i = 0; i < kTurns; ++i) {
      const bool inside = i < turns;
      lane_.copy_chunk(to + i * kLines * T::kTokenChunks * 16,
                       inside ? x_ + std::int64_t{i * kLines} * K_ : weights_as_x(), inside ? 8 : 0,
                       true);
    }
  }
  // Rows of x that do not begin at 16-byte boundaries.
  __device__ void copy_ragged_tokens(std::uint32_t base) {
    const std::int64_t left = K_ - column_;
    const int valid = static_cast<int>(left < 0 ? 0 : left < 8 ? left : std::int64_t{8});
#pragma unroll 1
    for (int i = 0; i < kTurns; ++i) {
      const bool inside = i < turns_ && valid > 0;
      lane_.copy_chunk(base + T::token_chunk(line_ + i * kLines, chunk_),
                       inside ? x_ + std::int64_t{i * kLines} * K_ : weights_as_x(),
                       inside ? valid : 0, false);
    }
  }
  // An address for copies of no bytes.
  __device__ const std::uint16_t* weights_as_x() const {
    return reinterpret_cast<const std::uint16_t*>(weights_);
  }

  Lane& lane_;
  std::int64_t K_;
  int units_left_;
  const std::uint32_t* weights_;  ///< this thread's first chunk of the next unit
  int line_;
  int chunk_;
  std::int64_t column_;
  int turns_ = 0;                     ///< in which this thread's line is below M
  const std::uint16_t* x_ = nullptr;  ///< this thread's first chunk of the next unit
};

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
  TwoToFourCopies<T, Lane> copies(lane, p, row, token);
#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s) copies.next(s);
  int stage = 0;
  int filled = T::kStages - 1;  // the stage that the next copies go to
#pragma unroll 1
  for (std::int64_t unit = 0; unit < p.units; ++unit) {
    lane.template wait_copies<T::kStages - 2>();
    // After it this unit's stage is there for all, and the last unit's stage is free.
    lane.barrier();
    copies.next(filled);
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
