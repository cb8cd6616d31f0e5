// Tile functions on AMX: up to 32 rows × 32 columns as 2 × 2 tiles of 16 × 16, steps of 16 dwords
// of K (64 int8 or 32 bf16).
//
// Both operands are stored as the tile loads read them: a step of a strip is [rows][64 bytes], of a
// panel [16 dwords of K][32 columns], the layout of the AVX-512 dot tiles. The strip, used again
// for every panel, is loaded with tileloadd, the panel with tileloaddt1.
//
// The strip of one block of K (256 dwords: 32 KiB) stays in L1 beside a panel that streams by from
// L2, 2 KiB for every 4 products of 16 cycles. ldtilecfg takes some hundred cycles and waits for
// all tiles: a thread does it once for the height of its strips. The epilogue of one tile is spread
// over the steps of the next, since tiles and vectors are worked on by different units.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/amx_tile.h"
#include "kernels/qgemm/tile_gemm.h"

namespace pareto {

inline constexpr int kAmxStripRows = 32;
inline constexpr int kAmxColumns = 32;
inline constexpr int kAmxStepDwords = 16;

/// Which product: s8 into int32, or bf16 into fp32.
struct AmxS8 {
  static constexpr int kPerDword = 4;
  template <int kC, int kA, int kB, typename Amx>
  static void dot(Amx& amx) {
    amx.template dot_s8<kC, kA, kB>();
  }
};
struct AmxBf16 {
  static constexpr int kPerDword = 2;
  template <int kC, int kA, int kB, typename Amx>
  static void dot(Amx& amx) {
    amx.template dot_bf16<kC, kA, kB>();
  }
};

/// Tiles of the calling thread, and the height of strips that they are set up for.
template <typename Amx>
struct AmxThread {
  Amx amx;
  int rows = 0;

  static AmxThread& here() {
    thread_local AmxThread thread;
    return thread;
  }
};

/// Tiles 0…3 hold C, 4 and 5 the strip, 6 and 7 the panel. Strips below 16 rows use the upper ones
/// alone: the time of a product grows with the rows.
template <typename Amx>
void amx_set_up(int rows) {
  AmxThread<Amx>& thread = AmxThread<Amx>::here();
  if (thread.rows == rows) return;
  const int upper = std::min(rows, kAmxRows);
  AmxShapes shapes{};
  shapes[0] = shapes[1] = shapes[4] = {upper, kAmxRowBytes};
  if (rows > upper) shapes[2] = shapes[3] = shapes[5] = {rows - upper, kAmxRowBytes};
  shapes[6] = shapes[7] = {kAmxRows, kAmxRowBytes};
  thread.amx.configure(shapes);
  thread.rows = rows;
}
template <typename Amx>
void amx_release() {
  AmxThread<Amx>& thread = AmxThread<Amx>::here();
  if (thread.rows > 0) thread.amx.release();
  thread.rows = 0;
}

/// c[kRows][32] of 4 bytes (+)= strip · panel, after amx_set_up(kRows), while `other` is finished.
template <typename Amx, typename Product, int kRows>
void amx_tile(const std::byte* a, const std::byte* w, std::int64_t steps, void* c, bool accumulate,
              const FinishedTile& other) {
  constexpr int kUpper = kRows < kAmxRows ? kRows : kAmxRows;
  constexpr bool kLower = kRows > kUpper;
  constexpr std::int64_t kRowBytes = kAmxColumns * 4;
  // Fewer would cost more in calls than in rows.
  constexpr std::int64_t kLeastRows = 2;
  Amx& amx = AmxThread<Amx>::here().amx;
  auto* tile = static_cast<std::byte*>(c);
  std::byte* lower = tile + kUpper * kRowBytes;
  const int rows = other.rect.rows;
  const auto rows_per_step = static_cast<int>(
      steps > 0 ? std::max(kLeastRows, (rows + steps - 1) / steps) : std::int64_t{rows});
  int row = 0;
  if (accumulate) {
    amx.template load<0>(tile, kRowBytes);
    amx.template load<1>(tile + 64, kRowBytes);
    if constexpr (kLower) {
      amx.template load<2>(lower, kRowBytes);
      amx.template load<3>(lower + 64, kRowBytes);
    }
  } else {
    amx.template zero<0>();
    amx.template zero<1>();
    if constexpr (kLower) {
      amx.template zero<2>();
      amx.template zero<3>();
    }
  }
  for (; steps > 0; --steps) {
    amx.template load_stream<6>(w, kRowBytes);
    amx.template load_stream<7>(w + 64, kRowBytes);
    amx.template load<4>(a, kAmxRowBytes);
    Product::template dot<0, 4, 6>(amx);
    Product::template dot<1, 4, 7>(amx);
    if constexpr (kLower) {
      amx.template load<5>(a + kUpper * kAmxRowBytes, kAmxRowBytes);
      Product::template dot<2, 5, 6>(amx);
      Product::template dot<3, 5, 7>(amx);
    }
    a += kRows * kAmxRowBytes;
    w += kAmxStepDwords * kRowBytes;
    if (row < rows) row = other.finish(row, rows_per_step);
  }
  if (row < rows) other.finish(row, rows);
  amx.template store<0>(tile, kRowBytes);
  amx.template store<1>(tile + 64, kRowBytes);
  if constexpr (kLower) {
    amx.template store<2>(lower, kRowBytes);
    amx.template store<3>(lower + 64, kRowBytes);
  }
}

template <typename Amx, typename Product, int... kRowsLessOne>
const BesideFunction* amx_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr BesideFunction kTiles[] = {nullptr,
                                              &amx_tile<Amx, Product, kRowsLessOne + 1>...};
  return kTiles;
}

template <typename Amx, typename Product>
TileSet amx_tile_set(StoreFunction store) {
  TileSet set;
  set.max_rows = kAmxStripRows;
  set.columns = kAmxColumns;
  set.a_step_bytes = kAmxRowBytes;
  set.w_step_bytes = std::int64_t{kAmxStepDwords} * kAmxColumns * 4;
  set.beside = amx_tiles<Amx, Product>(std::make_integer_sequence<int, kAmxStripRows>{});
  set.set_up = &amx_set_up<Amx>;
  set.release = &amx_release<Amx>;
  set.store = store;
  set.panel_block_bytes = 32 << 10;
  set.balanced = true;
  return set;
}

}  // namespace pareto
