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

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "harness/aligned_buffer.h"
#include "harness/tensor.h"
#include "harness/thread_pool.h"
#include "kernels/qgemm/thread_grid.h"
#include "reference/activation.h"

namespace pareto {

class PairExcess;

/// c[rows][columns] of 4-byte accumulators = (accumulate ? c : 0) + strip · panel over `steps`.
/// Host pointers, 64-byte aligned but for `a` (element-aligned).
using TileFunction = void (*)(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                              bool accumulate);

/// Expands `steps` compressed steps of one panel to what the tile functions read. `next`: what will
/// be expanded next, to be fetched if that helps; it may end before as many steps.
using UnpackFunction = void (*)(const std::byte* packed, std::int64_t steps, const std::byte* next,
                                std::byte* w);

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
  const PairExcess* excess = nullptr;        ///< of rows of x, times panels; AVX2 alone
  const std::byte* panels = nullptr;         ///< of W
  std::int64_t panel_bytes = 0;
  Activation activation = Activation::kNone;
  /// Whole lines of y go to memory without being read first; fp32, rows of whole lines. What stores
  /// so ends with a fence.
  bool past_caches = false;

  /// fp32 with nothing but scales, bias and ReLU: what tiles finish without leaving their
  /// registers.
  [[nodiscard]] bool is_plain() const {
    return y.dtype == DType::kF32 &&
           (activation == Activation::kNone || activation == Activation::kRelu) && acc == nullptr &&
           row_zero == nullptr;
  }
};

/// A rectangle of y: `rows` × `columns` from (row, column).
struct TileRect {
  std::int64_t row = 0;
  std::int64_t column = 0;
  int rows = 0;
  int columns = 0;
};
using StoreFunction = void (*)(const Epilogue& epilogue, const TileRect& rect, const void* c);

/// One call of a fused tile: as TileFunction, but that a tile which is complete and has a plain
/// epilogue leaves its registers for y instead of c, and that rows may be any distance apart.
struct TileBlock {
  const std::byte* a = nullptr;
  std::int64_t a_row_bytes = 0;    ///< from row to row
  std::int64_t a_chunk_bytes = 0;  ///< of one row, from strip_steps steps to the next
  const std::byte* w = nullptr;
  std::int64_t steps = 0;
  void* c = nullptr;
  bool accumulate = false;
  const Epilogue* epilogue = nullptr;  ///< null: to c
  TileRect rect;
  std::int64_t ahead_bytes = 0;  ///< distance from w of what is fetched
};
using FusedTileFunction = void (*)(const TileBlock& block);

/// One kernel: its tile functions by number of rows, and the geometry of its operands.
struct TileSet {
  int max_rows = 0;
  int columns = 32;                         ///< a multiple of 16
  std::int64_t strip_steps = 1;             ///< steps of a row that lie side by side in a strip
  std::int64_t a_step_bytes = 0;            ///< of one row in strip_steps steps
  std::int64_t w_step_bytes = 0;            ///< of one panel in one step
  int passes = 1;                           ///< times that a tile function reads its panel
  const TileFunction* tile = nullptr;       ///< [max_rows + 1], index = rows
  const TileFunction* streaming = nullptr;  ///< the same, prefetching W
  /// The same for a last panel of at most columns / 2, whose other sums it may leave; may be null.
  const TileFunction* half = nullptr;
  StoreFunction store = nullptr;
  UnpackFunction unpack = nullptr;     ///< null: panels are stored as the tile reads them
  std::int64_t packed_step_bytes = 0;  ///< of one panel in one compressed step
  std::int64_t steps_per_packed = 1;   ///< tile steps that a compressed step expands to
  /// Instead of `tile` and `streaming`: [lines of W fetched ahead per step, 0…2][rows].
  std::array<const FusedTileFunction*, 3> fused{};
  /// With them, for a last panel of at most columns / 4 and columns / 2: no more of c than that.
  std::array<const FusedTileFunction*, 2> narrow{};
  /// Bytes of one row in one step where fused tiles can read x itself; 0: strips alone.
  std::int64_t row_step_bytes = 0;
  /// Bytes of one panel in one block of K at large M.
  std::int64_t panel_block_bytes = 64 << 10;
};

class TileGemm {
 public:
  struct Strip {
    std::int64_t row = 0;
    int rows = 0;
  };

  /// How W is fetched ahead of the strip that meets it first: into L2, where more misses can be
  /// under way than in L1 (M = 16 from DRAM on Zen 4: 0.92 of the ceiling, into L1 0.72).
  struct Ahead {
    int lines = 0;  ///< of the two that a step reads
    std::int64_t bytes = 0;
  };

  /// `steps` of K; of what the last compressed step expands to, no more is multiplied. Allocates
  /// the workspace. `x_row_bytes`: from row to row of an x whose rows hold all their steps as a
  /// strip would; 0: there is none.
  TileGemm(const TileSet& set, std::int64_t M, std::int64_t N, std::int64_t steps, int threads,
           std::int64_t x_row_bytes = 0);

  /// `multiply` reads x itself: there are no strips to be filled.
  [[nodiscard]] bool in_place() const { return x_row_bytes_ > 0; }

  [[nodiscard]] std::int64_t strips() const { return strips_; }
  [[nodiscard]] Strip strip(std::int64_t s) const;
  /// Workspace of strip s, to be filled before `multiply`: rows · ⌈steps/strip_steps⌉ ·
  /// a_step_bytes; starts as zeros.
  [[nodiscard]] std::byte* strip_data(std::int64_t s);
  /// Bytes from 64 of a row to the next, where strips hold so many side by side.
  [[nodiscard]] std::int64_t chunk_stride(const Strip& strip) const {
    return strip.rows * set_.a_step_bytes;
  }
  [[nodiscard]] std::int64_t panels() const { return panels_; }
  /// Steps from one panel to the next as stored without `unpack`.
  [[nodiscard]] std::int64_t panel_steps() const { return steps_; }
  /// Bytes from one panel to the next as stored.
  [[nodiscard]] std::int64_t panel_bytes() const;

  /// All of y. `w` holds panels() panels; `x` is read if in_place().
  void multiply(const std::byte* w, const Epilogue& epilogue, ThreadPool& pool,
                const std::byte* x = nullptr);

  /// The same after fill(strip, thread, data) has filled every strip; not called if in_place().
  template <typename Fill>
  void fill_and_multiply(const std::byte* w, const Epilogue& epilogue, ThreadPool& pool,
                         const std::byte* x, const Fill& fill) {
    if (!in_place()) {
      pool.run([&](int thread, int threads) {
        const auto [begin, end] = share_of(strips_, thread, threads);
        for (std::int64_t s = begin; s < end; ++s) fill(strip(s), thread, strip_data(s));
      });
    }
    multiply(w, epilogue, pool, x);
  }

 private:
  struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };
  /// Rows of x, or of a copy that begins with row `first`.
  struct Rows {
    const std::byte* data = nullptr;
    std::int64_t first = 0;
  };
  void choose_blocks();
  void multiply_block(const std::byte* w, const Epilogue& epilogue, Range strips, Range panels,
                      std::byte* scratch) const;
  void unpack(const std::byte* w, Range panels, Range steps, std::byte* unpacked) const;
  void sweep(const std::byte* w, std::int64_t w_stride, const Epilogue& epilogue, Range strips,
             Range panels, Range steps, std::byte* tiles) const;
  void sweep_fused(const std::byte* w, std::int64_t w_stride, const Epilogue& epilogue,
                   Range strips, Range panels, Range steps, std::byte* tiles) const;
  [[nodiscard]] Ahead fetch_of(Range strips, std::int64_t strip, int rows) const;
  [[nodiscard]] const std::byte* strip_block(const Strip& strip, std::int64_t step) const;
  [[nodiscard]] TileBlock tile_block(const Strip& strip, Range steps, const Rows& rows) const;
  [[nodiscard]] std::int64_t tile_bytes() const;
  [[nodiscard]] std::int64_t kept_tiles() const;
  [[nodiscard]] std::int64_t scratch_bytes() const;
  [[nodiscard]] std::int64_t copy_row_bytes() const;
  [[nodiscard]] std::int64_t copy_bytes() const;
  [[nodiscard]] std::byte* copy_of(std::byte* scratch) const;
  void copy_rows(Range strips, std::byte* copy) const;

  TileSet set_;
  std::int64_t M_;
  std::int64_t N_;
  std::int64_t steps_;
  std::int64_t strip_chunks_ = 0;  ///< ⌈steps/strip_steps⌉
  std::int64_t strips_ = 0;
  std::int64_t strip_rows_ = 0;     ///< of each strip but the first ones
  std::int64_t larger_strips_ = 0;  ///< so many, with one row more
  std::int64_t panels_ = 0;
  std::int64_t block_steps_ = 1;
  std::int64_t block_panels_ = 1;
  std::int64_t block_strips_ = 1;
  bool stays_cached_ = false;  ///< W is small enough to be found in a cache
  ThreadGrid grid_;
  std::int64_t x_row_bytes_ = 0;
  bool copies_ = false;           ///< rows collide in L1: each thread copies some strips at a time
  const std::byte* x_ = nullptr;  ///< during `multiply`
  AlignedBuffer<std::byte> a_;
  AlignedBuffer<std::byte> scratch_;
};

}  // namespace pareto
