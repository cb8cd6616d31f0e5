// Tile functions on AMX: up to 32 rows × 32 columns as 2 × 2 tiles of 16 × 16, steps of 16 dwords
// of K (64 int8 or 32 bf16).
//
// Both operands are stored as the tile loads read them: a step of a strip is [rows][64 bytes], of a
// panel [16 dwords of K][32 columns], the layout of the AVX-512 dot tiles. The strip, used again
// for every panel, is loaded with tileloadd, the panel with tileloaddt1.
#pragma once

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

/// c[kRows][32] of 4 bytes (+)= strip · panel. Tiles 0…3 hold C, 4 and 5 the strip, 6 and 7 the
/// panel.
template <typename Amx, typename Product, int kRows>
void amx_tile(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
              bool accumulate) {
  constexpr int kUpper = kRows < kAmxRows ? kRows : kAmxRows;
  constexpr int kLower = kRows - kUpper;
  constexpr std::int64_t kRowBytes = kAmxColumns * 4;
  auto* tile = static_cast<std::byte*>(c);
  std::byte* lower = tile + kUpper * kRowBytes;
  AmxShapes shapes{};
  shapes[0] = shapes[1] = shapes[4] = {kUpper, kAmxRowBytes};
  if (kLower > 0) shapes[2] = shapes[3] = shapes[5] = {kLower, kAmxRowBytes};
  shapes[6] = shapes[7] = {kAmxRows, kAmxRowBytes};
  Amx amx;
  amx.configure(shapes);
  if (accumulate) {
    amx.template load<0>(tile, kRowBytes);
    amx.template load<1>(tile + 64, kRowBytes);
    if constexpr (kLower > 0) {
      amx.template load<2>(lower, kRowBytes);
      amx.template load<3>(lower + 64, kRowBytes);
    }
  }
  for (; steps > 0; --steps) {
    amx.template load_stream<6>(w, kRowBytes);
    amx.template load_stream<7>(w + 64, kRowBytes);
    amx.template load<4>(a, kAmxRowBytes);
    Product::template dot<0, 4, 6>(amx);
    Product::template dot<1, 4, 7>(amx);
    if constexpr (kLower > 0) {
      amx.template load<5>(a + kUpper * kAmxRowBytes, kAmxRowBytes);
      Product::template dot<2, 5, 6>(amx);
      Product::template dot<3, 5, 7>(amx);
    }
    a += kRows * kAmxRowBytes;
    w += kAmxStepDwords * kRowBytes;
  }
  amx.template store<0>(tile, kRowBytes);
  amx.template store<1>(tile + 64, kRowBytes);
  if constexpr (kLower > 0) {
    amx.template store<2>(lower, kRowBytes);
    amx.template store<3>(lower + 64, kRowBytes);
  }
  amx.release();
}

template <typename Amx, typename Product, int... kRowsLessOne>
const TileFunction* amx_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {nullptr, &amx_tile<Amx, Product, kRowsLessOne + 1>...};
  return kTiles;
}

template <typename Amx, typename Product>
TileSet amx_tile_set(StoreFunction store) {
  TileSet set;
  set.max_rows = kAmxStripRows;
  set.columns = kAmxColumns;
  set.a_step_bytes = kAmxRowBytes;
  set.w_step_bytes = std::int64_t{kAmxStepDwords} * kAmxColumns * 4;
  set.tile = amx_tiles<Amx, Product>(std::make_integer_sequence<int, kAmxStripRows>{});
  set.streaming = set.tile;
  set.store = store;
  return set;
}

}  // namespace pareto
