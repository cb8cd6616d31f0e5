// Register tile of the group-wise int8 products with AVX2: up to 4 rows × 16 columns, or one row ×
// 32. Registers hold the integer sums of a run (group_runs_avx2.h); the fp32 sums of the tile stay
// in memory, where each is met once per group.
//
// Up to 4 rows reading W is the bottleneck: two panels far apart are read side by side, run by run,
// so that hardware prefetchers follow two streams, and both are fetched a little ahead.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/qgemm/group_runs_avx2.h"
#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

inline constexpr int kAvx2GroupRows = 4;
/// Panels that are read side by side.
inline constexpr int kAvx2GroupStreams = 2;
/// Distances of what is fetched: with few rows, and by the first of several strips.
inline constexpr int kAvx2NearBytes = 1024;
inline constexpr int kAvx2FarBytes = 4096;

inline __m256 load_fp16_avx2(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
inline __m256 broadcast_float(const std::byte* p) {
  return _mm256_castsi256_ps(broadcast_dword_avx2(p));
}
/// sum += x · y
inline void add_product(float* sum, __m256 x, __m256 y) {
  _mm256_store_ps(sum, _mm256_fmadd_ps(x, y, _mm256_load_ps(sum)));
}

/// What a tile keeps from run to run.
template <typename Format, int kRows>
struct alignas(32) GroupTileAvx2 {
  float total[kRows][32];
  /// int32 sums of the group so far, where it has two runs.
  std::int32_t group[Format::kRuns > 1 ? kRows : 1][32];
  /// q4_k: of the running super-block Σ scale_x·(sc·group), the products in parentheses exact, and
  /// Σ mn·(scale_x·Σx).
  float scaled[Format::kMinima ? kRows : 1][32];
  float minima[Format::kMinima ? kRows : 1][32];
};

/// One run of a group; the last one adds scale_x · scale_w · group to the totals.
template <typename Format, int kVectors, int kRows>
[[gnu::always_inline]] inline void add_plain(const std::byte* a, const std::byte* step, int run,
                                             int first, GroupTileAvx2<Format, kRows>& tile) {
  static_assert(Format::kRuns <= 2);
  const std::byte* scales = a + Format::kGroup * kRows;
  GroupSumsAvx2<kRows, kVectors> s;
  add_run<Format>(s, a + run * Format::kRun * kRows,
                  step + first * 32 + run * (Format::kCodeBytes / Format::kRuns),
                  scales + (1 + run) * kRows * 4);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const int column = (first + v) * 8;
    const __m256 w = load_fp16_avx2(step + Format::kScaleAt + column * 2);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      __m256i sum = s.of[i][v];
      if constexpr (Format::kNibbles) sum = _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
      if constexpr (Format::kRuns > 1) {
        auto* group = reinterpret_cast<__m256i*>(tile.group[i] + column);
        if (run == 0) {
          _mm256_store_si256(group, sum);
          continue;
        }
        sum = _mm256_add_epi32(sum, _mm256_load_si256(group));
      }
      add_product(tile.total[i] + column, _mm256_cvtepi32_ps(sum),
                  _mm256_mul_ps(w, broadcast_float(scales + i * 4)));
    }
  }
}

/// A group of q4_k.
template <typename Format, int kVectors, int kRows>
[[gnu::always_inline]] inline void add_q4k(const std::byte* a, const std::byte* codes, int first,
                                           GroupTileAvx2<Format, kRows>& tile) {
  GroupSumsAvx2<kRows, kVectors> s;
  add_run<Format>(s, a, codes + first * 32, nullptr);
  const std::byte* scales = a + Format::kGroup * kRows;
  const std::byte* sc_of = codes + Format::kCodeBytes;
  // A column's sc for both halves of its sum.
  const __m256i twice = _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1,  //
                                         4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const int column = (first + v) * 8;
    std::int64_t eight = 0;
    std::memcpy(&eight, sc_of + column, sizeof(eight));
    const __m256i sc = _mm256_shuffle_epi8(_mm256_set1_epi64x(eight), twice);
    const __m256 mn = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(sc_of + 32 + column))));
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      add_product(tile.scaled[i] + column, _mm256_cvtepi32_ps(_mm256_madd_epi16(s.of[i][v], sc)),
                  broadcast_float(scales + i * 4));
      add_product(tile.minima[i] + column, mn, broadcast_float(scales + (kRows + i) * 4));
    }
  }
}

/// total += d · scaled − dmin · minima, which begin anew.
template <typename Format, int kRows>
void finish_q4k_avx2(const std::byte* step, GroupTileAvx2<Format, kRows>& tile) {
  for (int column = 0; column < 32; column += 8) {
    const __m256 d = load_fp16_avx2(step + Format::kDAt + column * 2);
    const __m256 d_min = load_fp16_avx2(step + Format::kDMinAt + column * 2);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      __m256 total = _mm256_load_ps(tile.total[i] + column);
      total = _mm256_fmadd_ps(d, _mm256_load_ps(tile.scaled[i] + column), total);
      total = _mm256_fnmadd_ps(d_min, _mm256_load_ps(tile.minima[i] + column), total);
      _mm256_store_ps(tile.total[i] + column, total);
      _mm256_store_ps(tile.scaled[i] + column, _mm256_setzero_ps());
      _mm256_store_ps(tile.minima[i] + column, _mm256_setzero_ps());
    }
  }
}

/// Run `run` of group `sub` of a step, all 32 columns.
template <typename Format, int kAhead, int kRows>
[[gnu::always_inline]] inline void add_columns(const std::byte* a, const std::byte* step, int sub,
                                               int run, GroupTileAvx2<Format, kRows>& tile) {
  // A single row leaves registers for all columns.
  constexpr int kVectors = kRows == 1 ? 4 : 2;
  constexpr int kRunBytes = Format::kSubBytes / Format::kRuns;
  const std::byte* codes = step + Format::kCodesAt + sub * Format::kSubBytes;
  if constexpr (kAhead > 0) {
    const char* ahead = reinterpret_cast<const char*>(codes) + run * kRunBytes + kAhead;
#pragma GCC unroll 20
    for (int line = 0; line < kRunBytes; line += 64) _mm_prefetch(ahead + line, _MM_HINT_T0);
  }
#pragma GCC unroll 2
  for (int first = 0; first < 4; first += kVectors) {
    if constexpr (Format::kMinima) {
      add_q4k<Format, kVectors>(a, codes, first, tile);
    } else {
      add_plain<Format, kVectors>(a, step, run, first, tile);
    }
    // Else sums are kept in registers beside the tile, and spilled.
    asm volatile("" ::: "memory");
  }
}

/// tiles[p] += strip · panels[p] over `steps` groups or super-blocks. A function of its own, which
/// callers do not specialize: whatever it puts on the stack is a spill.
template <typename Format, int kAhead, int kRows>
[[gnu::noipa]] void add_group_panels(const std::byte* a, const std::byte* const* panels, int count,
                                     std::int64_t steps, GroupTileAvx2<Format, kRows>* tiles) {
  for (std::int64_t at = 0; at < steps * Format::kStepBytes; at += Format::kStepBytes) {
    for (int sub = 0; sub < Format::kSubGroups; ++sub) {
      if constexpr (Format::kSubGroups > 1) {
        if (is_beyond_k(a + Format::kGroup * kRows)) break;
      }
#pragma GCC unroll 2
      for (int run = 0; run < Format::kRuns; ++run) {
#pragma GCC unroll 1
        for (int p = 0; p < count; ++p) {
          add_columns<Format, kAhead>(a, panels[p] + at, sub, run, tiles[p]);
        }
      }
      a += Format::kRowDwords * kRows * 4;
    }
    if constexpr (Format::kMinima) {
      for (int p = 0; p < count; ++p) finish_q4k_avx2(panels[p] + at, tiles[p]);
    }
  }
}

/// c[kRows][32] fp32 (+)= strip · panel over `steps`.
template <typename Format, int kRows, bool kStream>
void group_tile_avx2(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                     bool accumulate) {
  GroupTileAvx2<Format, kRows> tile;
  std::memset(&tile, 0, sizeof(tile));
  if (accumulate) std::memcpy(tile.total, c, sizeof(tile.total));
  add_group_panels<Format, kStream ? kAvx2FarBytes : 0>(a, &w, 1, steps, &tile);
  std::memcpy(c, tile.total, sizeof(tile.total));
}

/// c[count][kRows][32] fp32 = strip · each of `count` panels.
using PanelsFunctionAvx2 = void (*)(const std::byte* a, const std::byte* const* panels, int count,
                                    std::int64_t steps, float* c);
template <typename Format, int kRows>
void group_panels_avx2(const std::byte* a, const std::byte* const* panels, int count,
                       std::int64_t steps, float* c) {
  GroupTileAvx2<Format, kRows> tiles[kAvx2GroupStreams];
  std::memset(tiles, 0, sizeof(tiles));
  add_group_panels<Format, kAvx2NearBytes>(a, panels, count, steps, tiles);
  for (int p = 0; p < count; ++p) {
    std::memcpy(c + p * kRows * 32, tiles[p].total, sizeof(tiles[p].total));
  }
}

/// The tile set of one group format.
template <typename Format>
TileSet group_tile_set_avx2(StoreFunction store) {
  static constexpr TileFunction kTiles[] = {
      nullptr, &group_tile_avx2<Format, 1, false>, &group_tile_avx2<Format, 2, false>,
      &group_tile_avx2<Format, 3, false>, &group_tile_avx2<Format, 4, false>};
  static constexpr TileFunction kStreaming[] = {
      nullptr, &group_tile_avx2<Format, 1, true>, &group_tile_avx2<Format, 2, true>,
      &group_tile_avx2<Format, 3, true>, &group_tile_avx2<Format, 4, true>};
  TileSet set;
  set.max_rows = kAvx2GroupRows;
  set.columns = kAvx2TileColumns;
  set.a_step_bytes = std::int64_t{Format::kSubGroups} * Format::kRowDwords * 4;
  set.w_step_bytes = Format::kStepBytes;
  set.tile = kTiles;
  set.streaming = kStreaming;
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
