// One tile of y = x · Wᵀ by a block of 16 warps, W in chunks of CSR (csr_chunks.h), sums in fp32.
// For the device and for the host emulator.
//
// The tile is 64 rows of W and 64 tokens. Per step, 128 columns of x lie transposed in shared
// memory beside the chunk of W that belongs to them; both come while the step before is computed,
// x through registers, W by cp.async. A warp has 4 rows of W, a lane 2 tokens: each entry costs one
// read of two floats, conflict-free, and its own 8 bytes, the same for all lanes.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_mma_maps.h"
#include "kernels/sparse/csr_chunks.h"

namespace pareto::cuda {

/// y[M,N] = x[M,K] · W[N,K]ᵀ.
template <typename T>
struct CsrProblem {
  std::int64_t M = 0;
  std::int64_t K = 0;
  const T* x = nullptr;                   ///< [M,K]
  const std::uint32_t* words = nullptr;   ///< CsrPacked, 16-byte aligned
  const std::uint32_t* offset = nullptr;  ///< CsrPacked
  const std::int32_t* row = nullptr;      ///< CsrPacked
  int chunk_bytes = 0;                    ///< of the longest chunk
};

struct CsrTile {
  static constexpr int kWarps = 16;
  static constexpr int kThreads = kWarps * kWarpLanes;
  static constexpr int kWarpRows = CsrChunk::kRows / kWarps;
  static constexpr int kTileBytes = static_cast<int>(CsrChunk::column_byte(CsrChunk::kColumns + 1));
  /// Four columns of a token that a thread moves at once.
  static constexpr int kMoves = CsrChunk::kTokens * CsrChunk::kColumns / 4 / kThreads;
  static constexpr int shared_bytes(int chunk_bytes) { return 2 * (kTileBytes + chunk_bytes); }
};

/// Token and first column of a thread's move: 8 tokens × 4 · 4 columns a warp.
struct CsrMove {
  int token = 0;
  int column = 0;
};
constexpr CsrMove csr_move(int thread, int move) {
  const int warp = thread / kWarpLanes;
  const int lane = thread % kWarpLanes;
  // 8 groups of tokens × 8 of columns, over 16 warps and 4 moves.
  const int place = warp + CsrTile::kWarps * move;
  return {8 * (place % 8) + lane / 4, 16 * (place / 8) + 4 * (lane % 4)};
}

template <typename Lane, typename T>
class CsrBlock {
  using C = CsrChunk;
  using Tile = CsrTile;
  static constexpr int kPairs = 4;  ///< of entries in flight

 public:
  __device__ CsrBlock(Lane& lane, const CsrProblem<T>& p, std::int64_t tile, std::int64_t token)
      : lane_(lane),
        p_(p),
        token_(token),
        blocks_(static_cast<int>((p.K + C::kColumns - 1) / C::kColumns)),
        offset_(p.offset + tile * blocks_) {}

  /// sum[row][token] of this thread, over all columns.
  __device__ void run(float (&sum)[Tile::kWarpRows][2]) {
    // The column that fillings point to.
    for (int i = lane_.thread(); i < 2 * C::kTokens; i += Tile::kThreads) {
      lane_.store_shared(tile_place(i / C::kTokens) + C::column_byte(C::kColumns) +
                             4 * static_cast<std::uint32_t>(i % C::kTokens),
                         0);
    }
    float x[Tile::kMoves][4];
    if (blocks_ > 0) {
      copy_chunk(0);
      load(x, 0);
      store(x, 0);
    }
    lane_.commit_copies();
#pragma unroll 1
    for (int block = 0; block < blocks_; ++block) {
      lane_.template wait_copies<0>();
      // After it this step's operands are there for all, and the last step's have been read.
      lane_.barrier();
      const bool more = block + 1 < blocks_;
      if (more) {
        copy_chunk(block + 1);
        load(x, block + 1);
      }
      lane_.commit_copies();
      multiply(block % 2, sum);
      if (more) store(x, block + 1);
    }
    lane_.template wait_copies<0>();
  }

 private:
  __device__ std::uint32_t tile_place(int parity) const {
    return static_cast<std::uint32_t>(parity * Tile::kTileBytes);
  }
  __device__ std::uint32_t chunk_place(int parity) const {
    return static_cast<std::uint32_t>(2 * Tile::kTileBytes + parity * p_.chunk_bytes);
  }

  __device__ void copy_chunk(int block) {
    const std::uint32_t begin = offset_[block];
    const auto chunks = static_cast<int>(offset_[block + 1] - begin);
    const auto* from = reinterpret_cast<const std::uint16_t*>(p_.words + std::int64_t{begin} * 4);
    for (int c = lane_.thread(); c < chunks; c += Tile::kThreads) {
      lane_.copy_chunk(chunk_place(block % 2) + 16 * static_cast<std::uint32_t>(c), from + 8 * c, 8,
                       true);
    }
  }

  __device__ void load(float (&x)[Tile::kMoves][4], int block) {
#pragma unroll
    for (int i = 0; i < Tile::kMoves; ++i) {
      const CsrMove at = csr_move(lane_.thread(), i);
      const std::int64_t m = token_ + at.token;
      const std::int64_t k = std::int64_t{block} * C::kColumns + at.column;
      const T* from = p_.x + m * p_.K + k;
      if (m < p_.M && k + 4 <= p_.K && p_.K % 4 == 0) {
        lane_.load_four(from, x[i]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          x[i][j] = m < p_.M && k + j < p_.K ? static_cast<float>(from[j]) : 0.0F;
        }
      }
    }
  }
  __device__ void store(const float (&x)[Tile::kMoves][4], int block) {
#pragma unroll
    for (int i = 0; i < Tile::kMoves; ++i) {
      const CsrMove at = csr_move(lane_.thread(), i);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        lane_.store_shared(tile_place(block % 2) + C::column_byte(at.column + j) +
                               4 * static_cast<std::uint32_t>(at.token),
                           x[i][j]);
      }
    }
  }

  __device__ void multiply(int parity, float (&sum)[Tile::kWarpRows][2]) {
    const std::uint32_t chunk = chunk_place(parity);
    const std::uint32_t entries = chunk + 4 * C::kHeaderWords;
    const std::uint32_t tokens =
        tile_place(parity) + 8 * static_cast<std::uint32_t>(lane_.thread() % kWarpLanes);
    const int first = lane_.thread() / kWarpLanes * Tile::kWarpRows;
    std::uint32_t begin[Tile::kWarpRows + 1];
#pragma unroll
    for (int r = 0; r <= Tile::kWarpRows; ++r) {
      begin[r] = entries + 16 * lane_.load_word(chunk + 4 * static_cast<std::uint32_t>(first + r));
    }
#pragma unroll
    for (int r = 0; r < Tile::kWarpRows; ++r) {
      std::uint32_t at = begin[r];
#pragma unroll 1
      for (; at + 16 * kPairs <= begin[r + 1]; at += 16 * kPairs) {
        add_pairs<kPairs>(at, tokens, sum[r]);
      }
      add_last_pairs<kPairs / 2>(at, begin[r + 1], tokens, sum[r]);
    }
  }

  // Fewer than 2 · kCount pairs.
  template <int kCount>
  __device__ void add_last_pairs(std::uint32_t at, std::uint32_t end, std::uint32_t tokens,
                                 float (&sum)[2]) {
    if constexpr (kCount > 0) {
      if (at + 16 * kCount <= end) {
        add_pairs<kCount>(at, tokens, sum);
        at += 16 * kCount;
      }
      add_last_pairs<kCount / 2>(at, end, tokens, sum);
    }
  }

  // Pairs of entries, all read before the first is used.
  template <int kCount>
  __device__ void add_pairs(std::uint32_t at, std::uint32_t tokens, float (&sum)[2]) {
    std::uint32_t column[kCount][2];
    float value[kCount][2];
    float x[kCount][2][2];
#pragma unroll
    for (int i = 0; i < kCount; ++i) lane_.load_two_entries(at + 16 * i, column[i], value[i]);
#pragma unroll
    for (int i = 0; i < 2 * kCount; ++i) {
      lane_.load_two(tokens + column[i / 2][i % 2], x[i / 2][i % 2]);
    }
#pragma unroll
    for (int i = 0; i < 2 * kCount; ++i) {
      sum[0] = fmaf(value[i / 2][i % 2], x[i / 2][i % 2][0], sum[0]);
      sum[1] = fmaf(value[i / 2][i % 2], x[i / 2][i % 2][1], sum[1]);
    }
  }

  Lane& lane_;
  const CsrProblem<T>& p_;
  std::int64_t token_;
  int blocks_;
  const std::uint32_t* offset_;
};

/// The whole tile, number `tile` of rows and from `token` on: calls store(token, row, sum) for this
/// thread's elements inside of y.
template <typename Lane, typename T, typename Store>
__device__ void csr_tile(Lane& lane, const CsrProblem<T>& p, std::int64_t tile, std::int64_t token,
                         const Store& store) {
  float sum[CsrTile::kWarpRows][2] = {};
  CsrBlock<Lane, T>(lane, p, tile, token).run(sum);
  const int first = lane.thread() / kWarpLanes * CsrTile::kWarpRows;
#pragma unroll
  for (int r = 0; r < CsrTile::kWarpRows; ++r) {
    const std::int64_t n = p.row[tile * CsrChunk::kRows + first + r];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const std::int64_t m = token + 2 * (lane.thread() % kWarpLanes) + i;
      if (n >= 0 && m < p.M) store(m, n, sum[r][i]);
    }
  }
}

}  // namespace pareto::cuda
