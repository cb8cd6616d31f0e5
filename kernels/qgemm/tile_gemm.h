// Blocked, threaded matrix product over packed operands: the loops that all vector variants of
// qgemm share. The instruction set enters through function pointers alone.
//
// A strip holds up to `max_rows` rows of x, a panel `columns` columns of Wᵀ, both cut along K into
// steps (one dword of K, or one scale group with its scales inline):
//   strip [steps][rows][a_step_bytes / …] as its tile function likes it, a_step_bytes per row
//   panel [steps][w_step_bytes]
// Loops: blocks of panels that fit L2, blocks of K, strips, panels. With few strips the block is
// one panel and a short K instead, so that W streams once and in order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "harness/aligned_buffer.h"
#include "harness/tensor.h"
#include "harness/thread_pool.h"
#include "reference/activation.h"

namespace pareto {

/// c[rows][columns] of 4-byte accumulators = (accumulate ? c : 0) + strip · panel over `steps`.
/// Host pointers, 64-byte aligned but for `a` (element-aligned).
using TileFunction = void (*)(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                              bool accumulate);

/// Expands `steps` compressed steps of one panel to what the tile functions read.
using UnpackFunction = void (*)(const std::byte* packed, std::int64_t steps, std::byte* w);

/// Where finished tiles go: y = f(scale·acc + bias), rounded to y's type. Unused pointers are null.
struct Epilogue {
  Tensor y;                                  ///< [M,N]
  std::int32_t* acc = nullptr;               ///< [M,N]: the exact integer sums as well
  const float* row_scale = nullptr;          ///< [M]
  const float* column_scale = nullptr;       ///< [N, padded to panels]
  const float* bias = nullptr;               ///< [N, padded to panels]
  const std::int32_t* row_start = nullptr;   ///< [M]: added to integer sums
  const std::int32_t* row_zero = nullptr;    ///< [M]: times column_sum, subtracted
  const std::int32_t* column_sum = nullptr;  ///< [N, padded to panels]
  Activation activation = Activation::kNone;
};

/// A rectangle of y: `rows` × `columns` from (row, column).
struct TileRect {
  std::int64_t row = 0;
  std::int64_t column = 0;
  int rows = 0;
  int columns = 0;
};
using StoreFunction = void (*)(const Epilogue& epilogue, const TileRect& rect, const void* c);

/// One kernel: its tile functions by number of rows, and the geometry of its operands.
struct TileSet {
  int max_rows = 0;
  int columns = 32;                         ///< a multiple of 16
  std::int64_t a_step_bytes = 0;            ///< of one row in one step
  std::int64_t w_step_bytes = 0;            ///< of one panel in one step
  int passes = 1;                           ///< times that a tile function reads its panel
  const TileFunction* tile = nullptr;       ///< [max_rows + 1], index = rows
  const TileFunction* streaming = nullptr;  ///< the same, prefetching W
  StoreFunction store = nullptr;
  UnpackFunction unpack = nullptr;     ///< null: panels are stored as the tile reads them
  std::int64_t packed_step_bytes = 0;  ///< of one panel in one compressed step
  std::int64_t steps_per_packed = 1;   ///< tile steps that a compressed step expands to
};

class TileGemm {
 public:
  struct Strip {
    std::int64_t row = 0;
    int rows = 0;
  };

  /// `steps` of K (a multiple of set.steps_per_packed). Allocates the workspace.
  TileGemm(const TileSet& set, std::int64_t M, std::int64_t N, std::int64_t steps, int threads);

  [[nodiscard]] std::int64_t strips() const { return strips_; }
  [[nodiscard]] Strip strip(std::int64_t s) const;
  /// Workspace of strip s: rows · steps · a_step_bytes, to be filled before `multiply`.
  [[nodiscard]] std::byte* strip_data(std::int64_t s);
  [[nodiscard]] std::int64_t panels() const { return panels_; }
  /// Bytes of one panel as stored.
  [[nodiscard]] std::int64_t panel_bytes() const;

  /// All of y. `w` holds panels() panels.
  void multiply(const std::byte* w, const Epilogue& epilogue, ThreadPool& pool);

 private:
  struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };
  void choose_blocks();
  void choose_grid(int threads);
  void multiply_block(const std::byte* w, const Epilogue& epilogue, Range strips, Range panels,
                      std::byte* scratch) const;
  void sweep(const std::byte* w, std::int64_t w_stride, const Epilogue& epilogue, Range strips,
             Range panels, Range steps, std::byte* tiles) const;
  [[nodiscard]] std::int64_t tile_bytes() const;
  [[nodiscard]] std::int64_t scratch_bytes() const;

  TileSet set_;
  std::int64_t M_;
  std::int64_t N_;
  std::int64_t steps_;
  std::int64_t strips_ = 0;
  std::int64_t panels_ = 0;
  std::int64_t block_steps_ = 1;
  std::int64_t block_panels_ = 1;
  std::int64_t block_strips_ = 1;
  int grid_rows_ = 1;     ///< threads along M
  int grid_columns_ = 1;  ///< threads along N
  AlignedBuffer<std::byte> a_;
  AlignedBuffer<std::byte> scratch_;
};

}  // namespace pareto
