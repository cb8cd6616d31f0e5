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

}  // namespace pareto::cuda
