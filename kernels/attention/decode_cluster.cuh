// The sum over the splits of a KV head by the cluster of blocks that worked on them, through each
// other's shared memory. Written once, for the device and for the host emulator (see
// mma_rows.cuh).
#pragma once

#include <cstdint>

#include "kernels/attention/decode_block.cuh"

namespace pareto::cuda {

/// What a block works on: the splits of a unit are the blocks of one cluster.
__device__ inline DecodePlace decode_cluster_place(const DecodeProblem& p, std::int64_t block) {
  const std::int64_t unit = block / p.splits;
  return {unit / p.row_tiles, block % p.splits, unit % p.row_tiles, unit};
}

/// Where a block of a cluster keeps its split's sums in shared memory, behind those of its warps:
/// read by the other blocks of the cluster.
template <typename Tile>
struct DecodeClusterPart {
  static constexpr std::uint32_t kStart = DecodeSums<Tile>::sum(Tile::kWarps, 0, 0);
  static constexpr std::uint32_t maximum(int row) {
    return kStart + 8U * static_cast<std::uint32_t>(row);
  }
  static constexpr std::uint32_t sum(int row) { return maximum(row) + 4; }
  static constexpr std::uint32_t value(int row, int column) {
    return maximum(Tile::kRows) + 4U * static_cast<std::uint32_t>(row * Tile::kDim + column);
  }
  static_assert(value(Tile::kRows, 0) <= Tile::kSharedBytes);

  template <typename Lane>
  __device__ static void store(Lane& lane, int row, int column, float total, const RowEnds& ends) {
    lane.store_shared(value(row, column), total);
    if (column != 0) return;
    lane.store_shared(maximum(row), ends.maximum);
    lane.store_shared(sum(row), ends.sum);
  }
};

/// Most blocks of a cluster.
inline constexpr int kDecodeCluster = 16;

/// This block's share of the sum over the splits of its cluster, in ascending order:
/// load(split, offset) is what that block stored; calls store(row of the tile, column, output) and
/// store_lse(row, value). All loads are on their way at once.
template <typename Tile, typename Lane, typename Load, typename Store, typename StoreLse>
__device__ void combine_cluster(Lane& lane, const DecodeProblem& p, const DecodePlace& at,
                                const Load& load, const Store& store, const StoreLse& store_lse) {
  using Part = DecodeClusterPart<Tile>;
  const int splits = static_cast<int>(p.splits);
  const int elements = decode_rows(p, at.row_tile) * Tile::kDim;
  for (int e = static_cast<int>(at.split) * Tile::kThreads + lane.thread(); e < elements;
       e += splits * Tile::kThreads) {
    const int row = e / Tile::kDim;
    const int column = e % Tile::kDim;
    RowEnds parts[kDecodeCluster];
    float values[kDecodeCluster] = {};
#pragma unroll
    for (int s = 0; s < kDecodeCluster; ++s) {
      if (s >= splits) continue;
      parts[s] = {load(s, Part::maximum(row)), load(s, Part::sum(row))};
      values[s] = load(s, Part::value(row, column));
    }
    RowEnds ends;
#pragma unroll
    for (const RowEnds& part : parts) ends.maximum = fmaxf(ends.maximum, part.maximum);
    float total = 0;
#pragma unroll
    for (int s = 0; s < kDecodeCluster; ++s) {
      const float weight = weight_beside(lane, parts[s].maximum, ends.maximum);
      ends.sum = fmaf(weight, parts[s].sum, ends.sum);
      total = fmaf(weight, values[s], total);
    }
    store(row, column, row_output(total, ends.sum));
    if (column == 0) store_lse(row, row_lse(ends));
  }
}

}  // namespace pareto::cuda
