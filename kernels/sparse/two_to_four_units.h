// W of a 2:4 layer in units of 16 rows × 64 columns, in the order in which a warp's lanes hold the
// operands of mma.sp m16n8k32 (W is the sparse operand A, so that y comes out transposed).
//
// A unit is two products of 32 columns. For each, every lane's 4 registers of A as one chunk of 16
// bytes: register q is the pair of window t + 4·(q / 2), t the lane's member number, in row g +
// 8·(q mod 2). Then every lane's word of metadata: lanes with members 0 and 1 hold that of the
// first product (selector 0), members 2 and 3 that of the second (selector 1).
//
// Units of 8 row tiles, 128 rows, stand together for each block of 64 columns: a large tile's W is
// one contiguous piece, a small one's 1152 bytes at a constant stride.
//
// Which 4 columns of the 64 a window stands for is open, as long as x is read the same way:
// kInOrder, or kInPairs, where the lanes with members 0 and 1 need the first 32 columns and the
// others the rest, so that each reads 32 contiguous bytes of x.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

struct TwoToFourUnit {
  static constexpr int kRows = 16;
  static constexpr int kColumns = 64;
  static constexpr int kSteps = 2;        ///< products of 32 columns
  static constexpr int kStepWindows = 8;  ///< of 4 columns in a product
  static constexpr int kWindows = kSteps * kStepWindows;
  static constexpr int kStepWords = 4 * kWarpLanes;
  static constexpr int kMetaWord = kSteps * kStepWords;  ///< where the metadata begins
  static constexpr int kWords = kMetaWord + kWarpLanes;
  static constexpr int kBytes = 4 * kWords;
  static constexpr int kTogether = 8;  ///< row tiles
};

enum class WindowOrder : std::uint8_t { kInOrder, kInPairs };

/// The group of 4 columns (0 … 15) of a unit that window `window` of product `step` is.
constexpr int two_to_four_group(WindowOrder order, int step, int window) {
  if (order == WindowOrder::kInOrder) return TwoToFourUnit::kStepWindows * step + window;
  return 8 * (window % 2) + 4 * step + window / 2;
}

/// Word where a unit begins.
constexpr std::int64_t two_to_four_place(std::int64_t row_tile, std::int64_t unit,
                                         std::int64_t units) {
  using U = TwoToFourUnit;
  return ((row_tile / U::kTogether * units + unit) * U::kTogether + row_tile % U::kTogether) *
         U::kWords;
}

/// Two values and their places in a group of 4, idx0 | idx1 << 2.
struct TwoOfFour {
  std::uint32_t values = 0;
  unsigned places = metadata_nibble(0, 1);
};

/// Writes one unit; pair(row, group) is what the unit holds there.
template <typename Pair>
void pack_two_to_four_unit(WindowOrder order, const Pair& pair, std::uint32_t* words) {
  using U = TwoToFourUnit;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    for (int step = 0; step < U::kSteps; ++step) {
      for (int q = 0; q < 4; ++q) {
        const Element low = mma_a16(lane, q, 0);  // columns are compressed ones
        words[U::kStepWords * step + 4 * lane + q] =
            pair(low.row, two_to_four_group(order, step, low.column / 2)).values;
      }
    }
    const int step = member_of(lane) / 2;
    std::uint32_t meta = 0;
    for (int nibble = 0; nibble < 8; ++nibble) {
      const SparseWindow at = metadata16(lane, nibble);
      meta |= pair(at.row, two_to_four_group(order, step, at.window)).places
              << static_cast<unsigned>(4 * nibble);
    }
    words[U::kMetaWord + lane] = meta;
  }
}

/// All of W: `rows` rounded up to 128, ⌈columns / 64⌉ units; pair(row, group of 4 columns).
template <typename Pair>
std::vector<std::uint32_t> pack_two_to_four(WindowOrder order, std::int64_t rows,
                                            std::int64_t columns, const Pair& pair) {
  using U = TwoToFourUnit;
  const std::int64_t together = U::kRows * U::kTogether;
  const std::int64_t row_tiles = (rows + together - 1) / together * U::kTogether;
  const std::int64_t units = (columns + U::kColumns - 1) / U::kColumns;
  std::vector<std::uint32_t> words(static_cast<std::size_t>(row_tiles * units * U::kWords));
  for (std::int64_t tile = 0; tile < row_tiles; ++tile) {
    for (std::int64_t unit = 0; unit < units; ++unit) {
      pack_two_to_four_unit(
          order,
          [&](int row, int group) {
            return pair(tile * U::kRows + row, unit * U::kWindows + group);
          },
          words.data() + two_to_four_place(tile, unit, units));
    }
  }
  return words;
}

}  // namespace pareto::cuda
