// Attention of many queries: 128 rows of q of one head against its keys, by a block of 8 warps with
// 16 rows each, on mma.sync. Written once, for the device and for the host emulator (see
// mma_rows.cuh).
//
// Idea: q and o stay in registers, K and V pass through shared memory in 3 stages of 32 or 64 keys
// that cp.async fills while the stage before is used; logits never leave the registers. Source of
// the idea: FlashAttention-2.
#pragma once

#include <cstdint>

#include "kernels/attention/mma_rows.cuh"
#include "kernels/cuda_maps.h"

namespace pareto::cuda {

template <int kDimension>
struct FlashTile {
  static constexpr int kDim = kDimension;  ///< of q, k, v and o: 64 or 128
  static constexpr int kWarps = 8;
  static constexpr int kThreads = kWarps * kWarpLanes;
  static constexpr int kRows = kWarps * 16;
  static constexpr int kKeys = kDim == 64 ? 32 : 64;  ///< 32: two blocks fit in the registers
  static constexpr int kStages = 3;
  static constexpr int kChunks = kDim / kChunkElements;
  static constexpr int kRowsBytes = kKeys * kDim * 2;
  static constexpr int kStageBytes = 2 * kRowsBytes;  ///< K, then V
  static constexpr int kSharedBytes = kStages * kStageBytes;
};

/// Layout dense: q and o [batch, heads_q, seq_q, dim], k and v [batch, heads_kv, seq_kv, dim], lse
/// [batch, heads_q, seq_q].
struct FlashProblem {
  const std::uint16_t* q = nullptr;
  const std::uint16_t* k = nullptr;
  const std::uint16_t* v = nullptr;
  std::uint16_t* o = nullptr;
  float* lse = nullptr;
  std::int64_t heads = 0;  ///< of q, of all sequences
  std::int64_t heads_q = 0;
  std::int64_t heads_kv = 0;
  std::int64_t group_heads = 1;  ///< see flash_place
  int seq_q = 0;
  int seq_kv = 0;
  int offset = 0;  ///< query i stands at key position i + offset
  bool causal = false;
  float scale_log2 = 1;  ///< scale · log2(e)

  /// Query i sees the keys before this one; queries behind the last count as the last.
  [[nodiscard]] __device__ int visible_end(int i) const {
    if (!causal) return seq_kv;
    const int end = (i < seq_q ? i : seq_q - 1) + offset + 1;
    return end < 0 ? 0 : end < seq_kv ? end : seq_kv;
  }
};

/// Rows of one head.
struct FlashPlace {
  std::int64_t row = 0;  ///< of all rows of q: the head's first
  int first_i = 0;       ///< query of the tile's first row
  std::int64_t kv_slice = 0;
};
/// Tiles of `group_heads` heads after each other, those of the last rows first: with a causal mask
/// the longest, so that those that end last are short.
__device__ inline FlashPlace flash_place(const FlashProblem& p, std::int64_t block, int tile_rows) {
  const std::int64_t tiles = ceil_div(p.seq_q, tile_rows);
  const std::int64_t first = block / (p.group_heads * tiles) * p.group_heads;
  const std::int64_t left = p.heads - first;
  const std::int64_t heads = left < p.group_heads ? left : p.group_heads;
  const std::int64_t within = block - first * tiles;
  const std::int64_t head = first + within % heads;
  return {head * p.seq_q, static_cast<int>(tiles - 1 - within / heads) * tile_rows,
          dense_query(head * p.seq_q, p.seq_q, p.heads_q, p.heads_kv).kv_slice};
}
/// So many heads for a group that their keys and values stay in L2 while its tiles take turns.
constexpr std::int64_t flash_group_heads(const FlashProblem& p, int dim) {
  constexpr std::int64_t kBytes = 16 << 20;
  if (p.heads == 0) return 1;
  const std::int64_t bytes = std::int64_t{4} * p.seq_kv * dim;
  const std::int64_t kept = bytes == 0 || bytes > kBytes ? 1 : kBytes / bytes;
  const std::int64_t heads = kept * (p.heads_q / p.heads_kv);
  return heads < p.heads ? heads : p.heads;
}

/// Logits [16, 8 · kBlocks] of a warp whose first row is query `warp_i`, of keys from `key0` on:
/// −∞ where the row does not see the key.
template <int kBlocks, typename Lane>
__device__ void mask_logits(Lane& lane, const FlashProblem& p, int warp_i, int key0,
                            float (&logits)[kBlocks][4]) {
  if (key0 + 8 * kBlocks <= p.visible_end(warp_i)) return;
  const Element first = mma_d32(lane.thread() % kWarpLanes, 0);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int visible = p.visible_end(warp_i + first.row + 8 * r) - key0 - first.column;
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (8 * n + i >= visible) logits[n][2 * r + i] = -INFINITY;
      }
    }
  }
}

/// Writes a warp's 16 rows of o and lse, as far as they exist. Maxima times `scale` are powers
/// of 2.
template <int kDim, bool kBf16, typename Lane>
__device__ void store_flash_rows(Lane& lane, const FlashProblem& p, const FlashPlace& at,
                                 int warp_i, float scale, const MmaSoftmax& softmax,
                                 const float (&o)[kDim / 8][4]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const Element first = mma_d32(lane.thread() % kWarpLanes, 2 * r);
    const int i = warp_i + first.row;
    if (i >= p.seq_q) continue;
    const float sum = softmax.sum[r];  // 0: no key, o is 0
    const float inverse = sum == 0 ? 0 : 1 / sum;
    std::uint16_t* to = p.o + (at.row + i) * kDim + first.column;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      lane.store_pair(to + 8 * n,
                      pack_half<kBf16>(lane, o[n][2 * r] * inverse, o[n][2 * r + 1] * inverse));
    }
    if (first.column == 0) p.lse[at.row + i] = row_lse({scale * softmax.maximum[r], sum});
  }
}

template <typename Tile, bool kBf16, typename Lane>
class FlashBlock {
 public:
  static constexpr int kDim = Tile::kDim;

  __device__ FlashBlock(Lane& lane, const FlashProblem& p, const FlashPlace& at)
      : lane_(lane),
        p_(p),
        at_(at),
        keys_(p.k + at.kv_slice * p.seq_kv * kDim),
        values_(p.v + at.kv_slice * p.seq_kv * kDim),
        warp_i_(at.first_i + lane.thread() / kWarpLanes * 16),
        end_(p.visible_end(at.first_i + Tile::kRows - 1)),
        warp_end_(p.visible_end(warp_i_ + 15)) {}

  __device__ void run() {
#pragma unroll
    for (int s = 0; s < Tile::kStages - 1; ++s) fetch(s, s);
    load_q_rows<kDim>(lane_, p_.q + at_.row * kDim, warp_i_, p_.seq_q, q_);
    int stage = 0;
    int filled = Tile::kStages - 1;  // the stage that the next copies go to
    for (int step = 0; step * Tile::kKeys < end_; ++step) {
      lane_.template wait_copies<Tile::kStages - 2>();
      // After it this step's stage is there for all, and the last step's stage is free.
      lane_.barrier();
      fetch(filled, step + Tile::kStages - 1);
      if (step * Tile::kKeys < warp_end_) attend(stage, step * Tile::kKeys);
      stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
      filled = filled + 1 == Tile::kStages ? 0 : filled + 1;
    }
    lane_.template wait_copies<0>();
    softmax_.finish(lane_);
    store_flash_rows<kDim, kBf16>(lane_, p_, at_, warp_i_, 1, softmax_, o_);
  }

 private:
  __device__ void fetch(int stage, int step) {
    const int key0 = step * Tile::kKeys;
    if (key0 < end_) {
      const auto to = static_cast<std::uint32_t>(stage * Tile::kStageBytes);
      fetch_rows(to, keys_, key0);
      fetch_rows(to + Tile::kRowsBytes, values_, key0);
    }
    lane_.commit_copies();
  }
  /// Keys that no row of the block sees are zeros.
  __device__ void fetch_rows(std::uint32_t to, const std::uint16_t* from, int key0) {
#pragma unroll
    for (int i = 0; i < Tile::kKeys * Tile::kChunks / Tile::kThreads; ++i) {
      const int row = (lane_.thread() + i * Tile::kThreads) / Tile::kChunks;
      const int chunk = (lane_.thread() + i * Tile::kThreads) % Tile::kChunks;
      const bool there = key0 + row < end_;
      lane_.copy_chunk(to + chunk_offset<kDim>(row, chunk),
                       from + (there ? std::int64_t{key0 + row} * kDim + chunk * kChunkElements
                                     : std::int64_t{0}),
                       there ? kChunkElements : 0, true);
    }
  }

  __device__ void attend(int stage, int key0) {
    constexpr int kRowBytes = kDim * 2;
    const auto keys = static_cast<std::uint32_t>(stage * Tile::kStageBytes);
    float logits[Tile::kKeys / 8][4] = {};
#pragma unroll
    for (int n = 0; n < Tile::kKeys / 16; ++n) {
      multiply_keys<kDim, kBf16>(lane_, keys + static_cast<std::uint32_t>(16 * n * kRowBytes), q_,
                                 logits[2 * n], logits[2 * n + 1]);
    }
#pragma unroll
    for (auto& block : logits) {
#pragma unroll
      for (float& logit : block) logit *= p_.scale_log2;
    }
    mask_logits(lane_, p_, warp_i_, key0, logits);
    float rescale[2];
    softmax_.take(lane_, 1, logits, rescale);
    rescale_rows(o_, rescale);
#pragma unroll
    for (int n = 0; n < Tile::kKeys / 16; ++n) {
      multiply_values<kDim, kBf16>(
          lane_, keys + static_cast<std::uint32_t>(Tile::kRowsBytes + 16 * n * kRowBytes),
          logits[2 * n], logits[2 * n + 1], o_);
    }
  }

  Lane& lane_;
  const FlashProblem& p_;
  FlashPlace at_;
  const std::uint16_t* keys_;
  const std::uint16_t* values_;
  int warp_i_;    ///< query of the warp's first row
  int end_;       ///< keys that any row of the block sees
  int warp_end_;  ///< of the warp
  std::uint32_t q_[kDim / 16][4];
  float o_[kDim / 8][4] = {};
  MmaSoftmax softmax_;
};

}  // namespace pareto::cuda
