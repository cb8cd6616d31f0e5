// Layouts of qgemm/cuda_w4a16: 4-bit weights in the order in which mma.sync wants them, stages in
// shared memory, and which block multiplies what. Plain constexpr arithmetic, checked on the host.
//
// A unit of work is 128 rows of w × 128 of k. Its weights are [16-row tile 8][k64 2][lane 32][4]
// words, so that a lane's 16 bytes hold what its A fragments of four products (m16n8k16) need, 8
// codes in a word: code `half`·4 + `q` is half `half` of register q. Which k stands where in a
// fragment is free as long as x agrees: lane member t takes 8 neighbouring k of each 32, 16 bytes
// of x.
#pragma once

#include <cstdint>

#include "kernels/cuda_maps.h"
#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

inline constexpr int kW4Rows = 128;  ///< of w in a unit
inline constexpr int kW4K = 128;
inline constexpr int kW4Threads = 256;
inline constexpr int kW4RowWarps = 4;  ///< × 2 halves of k; 32 rows each
inline constexpr int kW4UnitWords = kW4Rows * kW4K / 8;

/// Row within the unit, and k within it, of one code.
struct W4Place {
  int row = 0;
  int k = 0;
};
/// k within 64, of register half `half` of step `step` (0 … 3), registers pair `pair` (0: q 0 and 1
/// of A and b0; 1: q 2 and 3 of A and b1), of lane member t.
constexpr int w4_k(int t, int step, int pair, int half) {
  return 32 * (step / 2) + 8 * t + 4 * (step % 2) + 2 * pair + half;
}
/// Code `code` (0 … 7, from the low bits) of word `word` of a unit.
constexpr W4Place w4_place(int word, int code) {
  const int step = word % 4;
  const int lane = word / 4 % kWarpLanes;
  const int k64 = word / 128 % 2;
  const int tile = word / 256;
  const int q = code % 4;
  const int half = code / 4;
  return {16 * tile + group_of(lane) + 8 * (q & 1),
          64 * k64 + w4_k(member_of(lane), step, q >> 1, half)};
}

/// Scales of a unit, fp16: a lane finds those of its 4 rows side by side. `group` is 128 or 32.
constexpr int w4_unit_scales(int group) { return kW4Rows * kW4K / group; }
struct W4ScalePlace {
  int row = 0;
  int group = 0;  ///< within the unit
};
constexpr W4ScalePlace w4_scale_place(int index, int group) {
  const int in_four = index % 4;            // tile of the warp, upper half of it
  const int groups = group == 128 ? 1 : 2;  // of 64 k
  const int e = index / 4 % groups;
  const int g = index / 4 / groups % 8;
  const int row_warp = index / 4 / groups / 8 % kW4RowWarps;
  const int k64 = index / 4 / groups / 8 / kW4RowWarps;
  return {32 * row_warp + 16 * (in_four / 2) + 8 * (in_four % 2) + g, 2 * k64 + e};
}
/// Byte of the first of a lane's scales.
constexpr std::uint32_t w4_scale_offset(int row_warp, int k64, int g, int group) {
  const int groups = group == 128 ? 1 : 2;
  const int part = group == 128 ? 0 : k64;
  return static_cast<std::uint32_t>(((part * kW4RowWarps + row_warp) * 8 + g) * groups * 8);
}

/// Blocks of 8 rows of x, elements under one scale, and the ring.
template <int Blocks8, int Group, int Stages>
struct W4Tile {
  static constexpr int kBlocks8 = Blocks8;
  static constexpr int kM = 8 * Blocks8;
  static constexpr int kGroup = Group;
  static constexpr int kStages = Stages;
  static constexpr int kBlocksAtOnce = Blocks8 <= 4 ? 2 : 1;  ///< on a multiprocessor
  static constexpr int kWBytes = kW4UnitWords * 4;
  static constexpr int kXBytes = kM * kW4K * 2;
  static constexpr int kScaleBytes = w4_unit_scales(Group) * 2;
  static constexpr int kStageBytes = kWBytes + kXBytes + kScaleBytes;
  /// Of the sums [kM][128]: 4 floats more in a row, so that members of a lane group meet in other
  /// banks.
  static constexpr int kSumStride = kW4Rows + 4;
  static constexpr int kSumsAt = kStages * kStageBytes;
  static constexpr int kSharedBytes = kSumsAt + kM * kSumStride * 4;
};

/// Byte within a stage's x [k64 2][rows][8 chunks of 16 bytes]. Odd rows have the halves of k64
/// exchanged: the 2 rows × 4 chunks of a load phase then reach all banks.
constexpr std::uint32_t w4_x_offset(int rows, int row, int k64, int chunk) {
  return static_cast<std::uint32_t>(((k64 * rows + row) * 8 + (chunk ^ row % 2 * 4)) * 16);
}
constexpr std::uint32_t w4_sum_offset(int m, int n) {
  return static_cast<std::uint32_t>((m * (kW4Rows + 4) + n) * 4);
}

/// `units` shared out over `blocks` blocks in runs of neighbours: the first of block `block`.
constexpr std::int64_t w4_first_unit(std::int64_t block, std::int64_t units, std::int64_t blocks) {
  return units * block / blocks;
}
/// The block that has this unit.
constexpr std::int64_t w4_block_of(std::int64_t unit, std::int64_t units, std::int64_t blocks) {
  return ((unit + 1) * blocks - 1) / units;
}
/// A tile's units may lie in several blocks, which leave their sums in memory: each block at most
/// two such, for the tile that it begins in and for the one that it ends in. Which of the two.
constexpr int w4_slot(std::int64_t tile, std::int64_t first_unit, std::int64_t steps) {
  return tile == first_unit / steps ? 0 : 1;
}

}  // namespace pareto::cuda
