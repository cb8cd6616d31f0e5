// Register tile of the AVX2 matrix products: up to 6 rows × 16 columns, 12 accumulators, 2
// registers of W, one broadcast of x. Panels of 32 columns take two passes or, up to 2 rows, one,
// so that W streams once where it is the bottleneck.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/tile_gemm.h"
#include "kernels/vector_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

inline constexpr int kAvx2TileRows = 6;
inline constexpr int kAvx2TileColumns = 32;
/// How far ahead of its use a streamed panel is fetched, into L2; each pass fetches the lines that
/// it reads.
inline constexpr int kAvx2AheadBytes = 16384;

/// One step: one fp32 of K; strip fp32 [rows], W fp32 [32].
struct Avx2StepF32 {
  using Reg = __m256;
  static constexpr int kColumns = kAvx2TileColumns;
  static constexpr int kRowBytes = 4;
  static constexpr int kStepBytes = 128;
  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg load(const std::byte* c) { return _mm256_load_ps(reinterpret_cast<const float*>(c)); }
  static void store(std::byte* c, Reg r) { _mm256_store_ps(reinterpret_cast<float*>(c), r); }

  /// sum[i] += row i · kVectors × 8 columns.
  template <int kRows, int kVectors>
  [[gnu::always_inline]] static void add(const std::byte* a, const std::byte* w,
                                         Reg (&sum)[kRows][kVectors]) {
    Reg column[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) column[v] = load(w + v * 32);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const Reg x = _mm256_castsi256_ps(broadcast_dword_avx2(a + i * kRowBytes));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[i][v] = _mm256_fmadd_ps(x, column[v], sum[i][v]);
    }
  }
};

/// `kVectors` × 8 columns from `first` on.
template <typename Step, int kRows, int kVectors, int kAhead>
[[gnu::always_inline]] inline void columns_avx2(const std::byte* a, const std::byte* w,
                                                std::int64_t steps, std::byte* c, int first,
                                                bool accumulate) {
  constexpr int kSumBytes = Step::kColumns * 4;
  typename Step::Reg sum[kRows][kVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = accumulate ? Step::load(c + i * kSumBytes + (first + v) * 32) : Step::zero();
    }
  }
#pragma GCC unroll 4
  for (; steps > 0; --steps) {
    if constexpr (kAhead > 0) {
      constexpr auto kLevel = kAhead >= kAvx2AheadBytes ? _MM_HINT_T1 : _MM_HINT_T0;
      for (int line = first * 32; line < (first + kVectors) * 32; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(w) + kAhead + line, kLevel);
      }
    }
    Step::add(a, w + first * 32, sum);
    a += kRows * Step::kRowBytes;
    w += Step::kStepBytes;
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Step::store(c + i * kSumBytes + (first + v) * 32, sum[i][v]);
    }
  }
}

/// c[kRows][kColumns] (+)= strip [steps][kRows] · panel, fetched so many bytes ahead, or not at
/// all.
template <typename Step, int kRows, int kAhead>
void step_tile_avx2(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                    bool accumulate) {
  auto* tile = static_cast<std::byte*>(c);
  // Two rows of 32 columns leave registers for W: 8 sums, 4 columns, a broadcast.
  if constexpr (kRows <= 2 || Step::kColumns == 16) {
    columns_avx2<Step, kRows, Step::kColumns / 8, kAhead>(a, w, steps, tile, 0, accumulate);
  } else {
    columns_avx2<Step, kRows, 2, kAhead>(a, w, steps, tile, 0, accumulate);
    columns_avx2<Step, kRows, 2, kAhead>(a, w, steps, tile, 2, accumulate);
  }
}

/// c[kRows][first 16 of 32] (+)= strip [steps][kRows] · panel.
template <typename Step, int kRows>
void half_tile_avx2(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                    bool accumulate) {
  columns_avx2<Step, kRows, 2, 0>(a, w, steps, static_cast<std::byte*>(c), 0, accumulate);
}

template <typename Step, int... kRowsLessOne>
const TileFunction* half_tiles_avx2(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {nullptr, &half_tile_avx2<Step, kRowsLessOne + 1>...};
  return kTiles;
}

template <typename Step, int kAhead, int... kRowsLessOne>
const TileFunction* step_tiles_avx2(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {nullptr,
                                            &step_tile_avx2<Step, kRowsLessOne + 1, kAhead>...};
  return kTiles;
}

/// The tile set of one kind of step.
template <typename Step>
TileSet step_tile_set_avx2(StoreFunction store) {
  constexpr auto kRows = std::make_integer_sequence<int, kAvx2TileRows>{};
  TileSet set;
  set.max_rows = kAvx2TileRows;
  set.columns = Step::kColumns;
  set.a_step_bytes = Step::kRowBytes;
  set.w_step_bytes = Step::kStepBytes;
  set.passes = Step::kColumns / 16;
  set.tile = step_tiles_avx2<Step, 0>(kRows);
  set.streaming = step_tiles_avx2<Step, kAvx2AheadBytes>(kRows);
  if constexpr (Step::kColumns > 16) set.half = half_tiles_avx2<Step>(kRows);
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
