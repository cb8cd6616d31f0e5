// Where things lie in the shared memory of qgemm/cuda_wgmma, which tile of y a block takes when,
// and which size of tile suits a problem. Plain constexpr arithmetic, checked on the host.
#pragma once

#include <cstdint>

#include "kernels/cuda_maps.h"
#include "kernels/cuda_wgmma_maps.h"

namespace pareto::cuda {

/// A tile of y by one block: `Groups` warpgroups multiply 64 rows × N columns each, one more loads.
/// Blocks come in clusters of `Cluster`, one above the other, which share the loads of w.
template <int Groups, int N, int Stages, int Cluster>
struct WgmmaTile {
  static constexpr int kGroups = Groups;
  static constexpr int kM = 64 * Groups;
  static constexpr int kN = N;
  static constexpr int kRowBytes = 128;  ///< of k in a stage: one span of the swizzle
  static constexpr int kStages = Stages;
  static constexpr int kCluster = Cluster;
  static constexpr int kThreads = kWarpgroupThreads * (Groups + 1);
  static constexpr int kWarps = 4 * Groups;  ///< that multiply
  static constexpr int kSums = N / 2;        ///< accumulators of one thread

  static constexpr int kXBytes = kM * 128;
  static constexpr int kWBytes = kN * 128;
  static constexpr int kStageBytes = kXBytes + kWBytes;
  /// Rows of y leave through a slice of 16 rows that each warp has for itself.
  static constexpr int kSliceColumns = N < 64 ? N : 64;
  static constexpr int kSliceFloats = 16 * kSliceColumns;
  static constexpr int kSlicesAt = kStages * kStageBytes;
  static constexpr int kBarriersAt = kSlicesAt + kWarps * kSliceFloats * 4;
  static constexpr int kAlignment = 1024;  ///< of a swizzled span's pattern
  static constexpr int kSharedBytes = kBarriersAt + 2 * 8 * kStages + kAlignment;
  static_assert(kSharedBytes <= 227 * 1024);
  static_assert(kXBytes % kAlignment == 0 && kWBytes / Cluster % kAlignment == 0);
};

/// Byte of an element in a warp's slice [16][columns] of floats. The 16-byte chunk is XORed with
/// twice the row: stores of accumulators (4 rows × 2 chunks in a phase) and loads of rows both
/// reach all banks.
constexpr std::uint32_t slice_offset(int row, int column, int columns) {
  const int chunk = column / 4 ^ row % 4 * 2;
  return static_cast<std::uint32_t>((row * columns + chunk * 4 + column % 4) * 4);
}

/// Place of the `unit`-th unit of a grid of rows × columns of them: bands of 8 rows, column by
/// column, so that the units that run at one time share rows of x and of w in L2.
constexpr MatrixPlace unit_place(std::int64_t unit, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kBand = 8;
  const std::int64_t first = unit / (kBand * columns) * kBand;
  const std::int64_t height = rows - first < kBand ? rows - first : kBand;
  const std::int64_t within = unit - first * columns;
  return {first + within % height, within / height};
}

/// What one size of tile costs, for `promising`.
struct TileSize {
  int m = 0;
  int n = 0;
  int cluster = 1;
};

/// Cycles per element of K of the multiprocessor that has most to do: that of the products, or of
/// the loads, whichever is longer. A multiprocessor does 2048 products in a cycle, and gets about
/// 38 bytes from L2 and 13 from memory; w comes from memory once, for the first row of tiles.
constexpr double tile_cost(const TileSize& t, std::int64_t M, std::int64_t N,
                           std::int64_t multiprocessors) {
  const std::int64_t rows = ceil_div(M, std::int64_t{t.m} * t.cluster);
  const std::int64_t units = rows * ceil_div(N, t.n);
  const std::int64_t turns = ceil_div(units, multiprocessors / t.cluster);
  const auto x_rows = static_cast<double>(M < t.m ? M : t.m);
  const double products = t.m * t.n / 2048.0;
  const double l2 = (x_rows + static_cast<double>(t.n) / t.cluster) * 2 / 38;
  const double memory = t.n * 2.0 / 13 / static_cast<double>(rows * t.cluster);
  const double loads = l2 + memory;
  return static_cast<double>(turns) * (products > loads ? products : loads);
}

}  // namespace pareto::cuda
