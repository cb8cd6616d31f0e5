// One tile of y = x · Wᵀ for few tokens, W in 2:4 units (two_to_four_units.h, windows in pairs):
// streamed from global memory straight into the registers of mma.sp, several units ahead. For the
// device and for the host emulator.
//
// The block's tile is 32 rows of W and 8 · kBlocks tokens; the columns are shared out over the
// warps, whose sums are added at the end (warp_shares.cuh). A lane reads 16 neighbouring columns of
// x, whole windows; mma.sp wants one half of each window in a lane with an even, the other in one
// with an odd member number, so that neighbours exchange halves.
#pragma once

#include <cstdint>

#include "kernels/sparse/two_to_four_units.h"
#include "kernels/sparse/warp_shares.cuh"

namespace pareto::cuda {

/// y[M,N] = x[M,K] · W[N,K]ᵀ; x in 16-bit codes, W packed.
struct TwoToFourProblem {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  std::int64_t units = 0;                ///< of a row tile
  const std::uint16_t* x = nullptr;      ///< [M,K]
  const std::uint32_t* words = nullptr;  ///< 16-byte aligned
};

/// kCountBlocks: blocks of 8 tokens. kCountAhead: units in flight.
template <int kCountBlocks, int kCountAhead>
struct TwoToFourRows {
  static constexpr int kBlocks = kCountBlocks;
  static constexpr int kAhead = kCountAhead;
  static constexpr int kWarps = 8;
  static constexpr int kThreads = kWarps * kWarpLanes;
  static constexpr int kRowTiles = 2;
  static constexpr int kRows = kRowTiles * TwoToFourUnit::kRows;
  static constexpr int kTokens = 8 * kBlocks;
};

template <typename Lane, typename T>
class TwoToFourWarp {
  using U = TwoToFourUnit;

 public:
  __device__ TwoToFourWarp(Lane& lane, const TwoToFourProblem& p, std::int64_t row_tile,
                           std::int64_t token)
      : lane_(lane),
        l_(lane.thread() % kWarpLanes),
        K_(p.K),
        aligned_(p.K % 8 == 0),
        begin_(static_cast<int>(p.units * (lane.thread() / kWarpLanes) / T::kWarps)),
        end_(static_cast<int>(p.units * (lane.thread() / kWarpLanes + 1) / T::kWarps)) {
#pragma unroll
    for (int i = 0; i < T::kRowTiles; ++i) {
      words_[i] = p.words + two_to_four_place(row_tile + i, 0, p.units);
    }
#pragma unroll
    for (int b = 0; b < T::kBlocks; ++b) {
      const std::int64_t m = token + 8 * b + group_of(l_);
      x_[b] = m < p.M ? p.x + m * p.K : nullptr;
    }
  }

  /// This warp's sums over its share of the columns.
  __device__ void run(float (&sum)[T::kRowTiles][T::kBlocks][4]) {
    Operands in_flight[T::kAhead];
#pragma unroll
    for (int j = 0; j < T::kAhead; ++j) {
      if (begin_ + j < end_) load(in_flight[j], begin_ + j);
    }
#pragma unroll 1
    for (int first = begin_; first < end_; first += T::kAhead) {
#pragma unroll
      for (int j = 0; j < T::kAhead; ++j) {
        if (first + j >= end_) break;
        multiply(in_flight[j], sum);
        if (first + j + T::kAhead < end_) load(in_flight[j], first + j + T::kAhead);
      }
    }
  }

 private:
  /// Of one unit of each row tile.
  struct Operands {
    std::uint32_t a[T::kRowTiles][U::kSteps][4];
    std::uint32_t meta[T::kRowTiles];
    TokenChunk x[T::kBlocks][2];
  };

  __device__ void load(Operands& to, int unit) {
#pragma unroll
    for (int i = 0; i < T::kRowTiles; ++i) {
      const std::uint32_t* from = words_[i] + std::int64_t{unit} * (U::kTogether * U::kWords);
#pragma unroll
      for (int step = 0; step < U::kSteps; ++step) {
        lane_.load_once(from + U::kStepWords * step + 4 * l_, to.a[i][step]);
      }
      to.meta[i] = lane_.load_once(from + U::kMetaWord + l_);
    }
    const std::int64_t k = std::int64_t{unit} * U::kColumns + 16 * member_of(l_);
#pragma unroll
    for (int b = 0; b < T::kBlocks; ++b) {
      to.x[b][0] = load_tokens(x_[b], k, K_, aligned_);
      to.x[b][1] = load_tokens(x_[b], k + 8, K_, aligned_);
    }
  }

  // Fragments B of both products out of this lane's 4 windows and its neighbour's.
  __device__ void exchange_halves(const TokenChunk (&x)[2], std::uint32_t (&b)[U::kSteps][4]) {
    const bool odd = l_ % 2 != 0;
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      const std::uint32_t low = x[q / 2].pair[q % 2 * 2];
      const std::uint32_t high = x[q / 2].pair[q % 2 * 2 + 1];
      const std::uint32_t other = lane_.exchange_with_neighbour(odd ? low : high);
      b[0][q] = odd ? other : low;
      b[1][q] = odd ? high : other;
    }
  }

  __device__ void multiply(const Operands& in, float (&sum)[T::kRowTiles][T::kBlocks][4]) {
#pragma unroll
    for (int b = 0; b < T::kBlocks; ++b) {
      std::uint32_t tokens[U::kSteps][4];
      exchange_halves(in.x[b], tokens);
#pragma unroll
      for (int i = 0; i < T::kRowTiles; ++i) {
        lane_.template multiply_sparse<0>(sum[i][b], in.a[i][0], tokens[0], in.meta[i]);
        lane_.template multiply_sparse<1>(sum[i][b], in.a[i][1], tokens[1], in.meta[i]);
      }
    }
  }

  Lane& lane_;
  int l_;
  std::int64_t K_;
  bool aligned_;
  int begin_;
  int end_;
  const std::uint32_t* words_[T::kRowTiles];
  const std::uint16_t* x_[T::kBlocks];  ///< rows of this lane's tokens, null behind the last
};

/// The whole tile, from row tile `row_tile` (even) and token `token` on: calls store(token, row,
/// sum) for this thread's elements inside of y.
template <typename T, typename Lane, typename Store>
__device__ void two_to_four_rows(Lane& lane, const TwoToFourProblem& p, std::int64_t row_tile,
                                 std::int64_t token, const Store& store) {
  float sum[T::kRowTiles][T::kBlocks][4] = {};
  TwoToFourWarp<Lane, T>(lane, p, row_tile, token).run(sum);
  store_sums_of_warps<T>(lane, sum, 0, {p.M, p.N}, row_tile * TwoToFourUnit::kRows, token, store);
}

}  // namespace pareto::cuda
