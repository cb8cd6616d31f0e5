// Attention of a few queries: up to 16 rows of q that share a KV head, against one split of its
// keys, by a block of 4 warps; and the sum over the splits. Written once, for the device and for
// the host emulator (see mma_rows.cuh).
//
// Idea: rows of q with the same KV head are one operand of 16 rows, so each row of K and V is read
// once. Every warp has tiles of 16 keys and a ring of its own, filled by cp.async before the first
// product: no barrier of the block until the four partial sums meet in shared memory, and 3 tiles
// per warp on their way. Source of the idea: FlashAttention's split-KV decoding.
#pragma once

#include <cstdint>

#include "kernels/attention/mma_rows.cuh"

namespace pareto::cuda {

template <int kDimension>
struct DecodeTile {
  static constexpr int kDim = kDimension;  ///< of q, k, v and o: 64 or 128
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * kWarpLanes;
  static constexpr int kRows = 16;
  static constexpr int kStages = 3;
  static constexpr int kChunks = kDim / kChunkElements;
  static constexpr int kBlockKeys = kWarps * kMmaKeys;  ///< of one step of all warps
  static constexpr int kRowsBytes = kMmaKeys * kDim * 2;
  static constexpr int kStageBytes = 2 * kRowsBytes;  ///< K, then V
  static constexpr int kSharedBytes = kWarps * kStages * kStageBytes;
  static constexpr int kQuads = kDim / 4;  ///< of a row of o
};

/// Layout dense. A slice is one KV head of one sequence, its rows of q (group · seq_q) are
/// contiguous: q and o [slices, rows, kDim], k and v [slices, seq_kv, kDim], lse [slices, rows].
struct DecodeProblem {
  const std::uint16_t* q = nullptr;
  const std::uint16_t* k = nullptr;
  const std::uint16_t* v = nullptr;
  std::int64_t rows = 0;
  std::int64_t seq_q = 0;
  std::int64_t seq_kv = 0;
  std::int64_t key_end = 0;  ///< no row sees keys from here on
  std::int64_t offset = 0;   ///< query i stands at key position i + offset
  bool causal = false;
  float scale_log2 = 1;        ///< scale · log2(e)
  std::int64_t row_tiles = 1;  ///< of up to 16 rows
  std::int64_t splits = 1;
  std::int64_t split_keys = 0;  ///< a multiple of kBlockKeys

  /// Keys before this one are seen by all rows that see keys at all positions of query `i`.
  [[nodiscard]] __device__ std::int64_t visible_end(std::int64_t i) const {
    if (!causal) return key_end;
    const std::int64_t end = i + offset + 1;
    return end < 0 ? 0 : end < key_end ? end : key_end;
  }
};

/// What a block works on. Blocks of one split with different rows are neighbours: they share the
/// keys in L2.
struct DecodePlace {
  std::int64_t slice = 0;
  std::int64_t split = 0;
  std::int64_t row_tile = 0;
  std::int64_t unit = 0;  ///< slice and row tile: what the splits are summed for
};
__device__ inline DecodePlace decode_place(const DecodeProblem& p, std::int64_t block) {
  const std::int64_t row_tile = block % p.row_tiles;
  const std::int64_t split = block / p.row_tiles % p.splits;
  const std::int64_t slice = block / p.row_tiles / p.splits;
  return {slice, split, row_tile, slice * p.row_tiles + row_tile};
}
/// Rows of a tile that exist.
__device__ inline int decode_rows(const DecodeProblem& p, std::int64_t row_tile) {
  const std::int64_t left = p.rows - 16 * row_tile;
  return static_cast<int>(left < 16 ? left : 16);
}

/// Where the warps leave their sums in shared memory once the rings have been read.
template <typename Tile>
struct DecodeSums {
  static constexpr std::uint32_t ends(int warp, int row) {
    return static_cast<std::uint32_t>((warp * Tile::kRows + row) * 8);
  }
  static constexpr std::uint32_t sum(int warp, int row, int column) {
    constexpr int kStride = Tile::kDim + 8;  // neighbouring rows 8 banks apart
    return ends(Tile::kWarps, 0) +
           static_cast<std::uint32_t>(((warp * Tile::kRows + row) * kStride + column) * 4);
  }
};

/// One warp's tiles of keys.
template <typename Tile, bool kBf16, typename Lane>
class DecodeWarp {
 public:
  static constexpr int kDim = Tile::kDim;
  using Sums = DecodeSums<Tile>;
  static_assert(Sums::sum(Tile::kWarps, 0, 0) <= Tile::kSharedBytes);

  __device__ DecodeWarp(Lane& lane, const DecodeProblem& p, const DecodePlace& at)
      : lane_(lane),
        p_(p),
        keys_(p.k + at.slice * p.seq_kv * kDim),
        values_(p.v + at.slice * p.seq_kv * kDim),
        first_(at.split * p.split_keys + warp() * kMmaKeys) {
    const std::int64_t split_end = (at.split + 1) * p.split_keys;
    end_ = split_end < p.key_end ? split_end : p.key_end;
#pragma unroll
    for (int stage = 0; stage < Tile::kStages; ++stage) fetch(stage, stage);
    const std::int64_t row = at.row_tile * Tile::kRows;
    load_q_rows<kDim>(lane, p.q + at.slice * p.rows * kDim, row, p.rows, q_);
    const int g = group_of(lane.thread() % kWarpLanes);
    visible_[0] = p.visible_end((row + g) % p.seq_q);
    visible_[1] = p.visible_end((row + g + 8) % p.seq_q);
  }

  __device__ void run() {
    int stage = 0;
    for (std::int64_t tile = 0; key_of(tile) < end_; ++tile) {
      lane_.template wait_copies<Tile::kStages - 1>();
      lane_.warp_barrier();  // every lane's part of the tile is there
      attend(stage, key_of(tile));
      lane_.warp_barrier();  // every lane has read it
      fetch(stage, tile + Tile::kStages);
      stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
    }
    lane_.template wait_copies<0>();
    softmax_.finish(lane_);
  }

  /// Sums of this warp to shared memory; after a barrier of the block, which still reads the rings.
  __device__ void store() {
    const int l = lane_.thread() % kWarpLanes;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Element e = mma_d32(l, i);
        lane_.store_shared(Sums::sum(warp(), e.row, 8 * n + e.column), o_[n][i]);
      }
    }
    if (member_of(l) != 0) return;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const std::uint32_t at = Sums::ends(warp(), group_of(l) + 8 * r);
      lane_.store_shared(at, softmax_.maximum[r]);
      lane_.store_shared(at + 4, softmax_.sum[r]);
    }
  }

 private:
  [[nodiscard]] __device__ int warp() const { return lane_.thread() / kWarpLanes; }
  [[nodiscard]] __device__ std::int64_t key_of(std::int64_t tile) const {
    return first_ + tile * Tile::kBlockKeys;
  }
  [[nodiscard]] __device__ std::uint32_t stage_offset(int stage) const {
    return static_cast<std::uint32_t>((warp() * Tile::kStages + stage) * Tile::kStageBytes);
  }

  /// Starts the copies of one tile, as one group; keys behind the end are zeros.
  __device__ void fetch(int stage, std::int64_t tile) {
    const std::int64_t key0 = key_of(tile);
    if (key0 < end_) {
      fetch_rows(stage_offset(stage), keys_, key0);
      fetch_rows(stage_offset(stage) + Tile::kRowsBytes, values_, key0);
    }
    lane_.commit_copies();
  }
  __device__ void fetch_rows(std::uint32_t to, const std::uint16_t* from, std::int64_t key0) {
    const int l = lane_.thread() % kWarpLanes;
#pragma unroll
    for (int i = 0; i < kMmaKeys * Tile::kChunks / kWarpLanes; ++i) {
      const int row = (l + i * kWarpLanes) / Tile::kChunks;
      const int chunk = (l + i * kWarpLanes) % Tile::kChunks;
      const bool there = key0 + row < end_;
      lane_.copy_chunk(
          to + chunk_offset<kDim>(row, chunk),
          from + (there ? (key0 + row) * kDim + chunk * kChunkElements : std::int64_t{0}),
          there ? kChunkElements : 0, true);
    }
  }

  __device__ void attend(int stage, std::int64_t key0) {
    float logits[2][4] = {};
    multiply_keys<kDim, kBf16>(lane_, stage_offset(stage), q_, logits[0], logits[1]);
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Element e = mma_d32(lane_.thread() % kWarpLanes, i);
        const bool sees = key0 + 8 * n + e.column < visible_[i / 2];
        logits[n][i] = sees ? logits[n][i] * p_.scale_log2 : -INFINITY;
      }
    }
    float rescale[2];
    softmax_.take(lane_, 1, logits, rescale);
    rescale_rows(o_, rescale);
    multiply_values<kDim, kBf16>(lane_, stage_offset(stage) + Tile::kRowsBytes, logits[0],
                                 logits[1], o_);
  }

  Lane& lane_;
  const DecodeProblem& p_;
  const std::uint16_t* keys_;
  const std::uint16_t* values_;
  std::int64_t first_;
  std::int64_t end_ = 0;
  std::int64_t visible_[2];
  std::uint32_t q_[kDim / 16][4];
  float o_[kDim / 8][4] = {};
  MmaSoftmax softmax_;
};

/// The block's split: calls store(row of the tile, column, sum, ends) for this thread's elements of
/// the rows that exist; sums are not divided by ends.sum yet.
template <typename Tile, bool kBf16, typename Lane, typename Store>
__device__ void decode_block(Lane& lane, const DecodeProblem& p, const DecodePlace& at,
                             const Store& store) {
  using Warp = DecodeWarp<Tile, kBf16, Lane>;
  Warp warp(lane, p, at);
  warp.run();
  lane.barrier();  // the rings have been read by all
  warp.store();
  lane.barrier();
  const int rows = decode_rows(p, at.row_tile);
  for (int e = lane.thread(); e < rows * Tile::kDim; e += Tile::kThreads) {
    const int row = e / Tile::kDim;
    const int column = e % Tile::kDim;
    RowEnds ends;
#pragma unroll
    for (int part = 0; part < Tile::kWarps; ++part) {
      ends.maximum = fmaxf(ends.maximum, lane.load_shared(DecodeSums<Tile>::ends(part, row)));
    }
    float total = 0;
#pragma unroll
    for (int part = 0; part < Tile::kWarps; ++part) {
      const std::uint32_t from = DecodeSums<Tile>::ends(part, row);
      const float weight = weight_beside(lane, lane.load_shared(from), ends.maximum);
      ends.sum = fmaf(weight, lane.load_shared(from + 4), ends.sum);
      total = fmaf(weight, lane.load_shared(DecodeSums<Tile>::sum(part, row, column)), total);
    }
    store(row, column, total, ends);
  }
}

/// Partial sums of all splits, fp32 in device memory: sums [units, splits, 16, kDim], ends [units,
/// splits, 16].
struct DecodePartials {
  float* sums = nullptr;
  RowEnds* ends = nullptr;

  static constexpr std::int64_t index(const DecodeProblem& p, std::int64_t unit, std::int64_t split,
                                      int row) {
    return (unit * p.splits + split) * 16 + row;
  }
};

struct alignas(16) DecodeQuad {
  float of[4];
};

/// Most splits of one KV head: their ends have room in shared memory.
inline constexpr std::int64_t kDecodeSplits = 64;

/// Sums the splits of one unit, in ascending order, by one block: calls store(row of the tile,
/// column, four outputs) and store_lse(row, value). Shared memory is free; a barrier of the block
/// lies behind.
template <typename Tile, typename Lane, typename Store, typename StoreLse>
__device__ void combine_splits(Lane& lane, const DecodeProblem& p, const DecodePlace& at,
                               const DecodePartials& partials, const Store& store,
                               const StoreLse& store_lse) {
  static_assert(kDecodeSplits * Tile::kRows * 8 <= Tile::kSharedBytes);
  const int rows = decode_rows(p, at.row_tile);
  const int splits = static_cast<int>(p.splits);
  const auto ends_offset = [](int split, int row) {
    return static_cast<std::uint32_t>((split * Tile::kRows + row) * 8);
  };
  for (int e = lane.thread(); e < splits * rows; e += Tile::kThreads) {
    const RowEnds ends = partials.ends[DecodePartials::index(p, at.unit, e / rows, e % rows)];
    lane.store_shared(ends_offset(e / rows, e % rows), ends.maximum);
    lane.store_shared(ends_offset(e / rows, e % rows) + 4, ends.sum);
  }
  lane.barrier();
  for (int e = lane.thread(); e < rows * Tile::kQuads; e += Tile::kThreads) {
    const int row = e / Tile::kQuads;
    const int column = e % Tile::kQuads * 4;
    RowEnds ends;
    for (int s = 0; s < splits; ++s) {
      ends.maximum = fmaxf(ends.maximum, lane.load_shared(ends_offset(s, row)));
    }
    float total[4] = {};
    const float* from = partials.sums + DecodePartials::index(p, at.unit, 0, row) * Tile::kDim;
#pragma unroll 16  // as many loads on their way
    for (int s = 0; s < splits; ++s) {
      const auto quad = *reinterpret_cast<const DecodeQuad*>(
          from + std::int64_t{s} * Tile::kRows * Tile::kDim + column);
      const float weight = weight_beside(lane, lane.load_shared(ends_offset(s, row)), ends.maximum);
      ends.sum = fmaf(weight, lane.load_shared(ends_offset(s, row) + 4), ends.sum);
#pragma unroll
      for (int i = 0; i < 4; ++i) total[i] = fmaf(weight, quad.of[i], total[i]);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) total[i] = row_output(total[i], ends.sum);
    store(row, column, total);
    if (column == 0) store_lse(row, row_lse(ends));
  }
}

}  // namespace pareto::cuda
