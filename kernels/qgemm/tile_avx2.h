// Register tile of the AVX2 matrix products over panels of 32 columns: up to 6 rows × 16 columns in
// two passes, or, up to 2 rows, all 32 columns in one, so that W streams once where it is the
// bottleneck. 12 accumulators, 2 registers of W, one broadcast of x.
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
/// How far ahead of its use a streamed panel is fetched.
inline constexpr int kAvx2AheadBytes = 8192;

/// A single row meets so many panels side by side, each of which is fetched a little ahead: as fast
/// as memory can be read (int8 from DRAM on Zen 3: 97 to 103 % of plain reads in four streams; two
/// panels 88 %, one 67 %, three fetched 2 KiB ahead 84 %).
inline constexpr int kAvx2RowStreams = 3;
inline constexpr int kAvx2RowAheadBytes = 512;

/// One step: one fp32 of K; W fp32 [32].
struct Avx2StepF32 {
  using Reg = __m256;
  static constexpr int kStepBytes = 128;
  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg load(const std::byte* c) { return _mm256_load_ps(reinterpret_cast<const float*>(c)); }
  static void store(std::byte* c, Reg r) { _mm256_store_ps(reinterpret_cast<float*>(c), r); }
  static Reg load_w(const std::byte* w, int vector) { return load(w + vector * 32); }
  static Reg broadcast(const std::byte* a) { return _mm256_castsi256_ps(broadcast_dword_avx2(a)); }
  static Reg multiply_add(Reg c, Reg w, Reg a) { return _mm256_fmadd_ps(a, w, c); }
};

/// One step: two values of K; x s16 pairs, W s8 [32][2] widened on loading, int32 sums.
struct Avx2StepS16 {
  using Reg = __m256i;
  static constexpr int kStepBytes = 64;
  static Reg zero() { return _mm256_setzero_si256(); }
  static Reg load(const std::byte* c) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(c));
  }
  static void store(std::byte* c, Reg r) { _mm256_store_si256(reinterpret_cast<__m256i*>(c), r); }
  static Reg load_w(const std::byte* w, int vector) {
    return _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + vector * 16)));
  }
  static Reg broadcast(const std::byte* a) { return broadcast_dword_avx2(a); }
  static Reg multiply_add(Reg c, Reg w, Reg a) {
    return _mm256_add_epi32(c, _mm256_madd_epi16(w, a));
  }
};

/// `kVectors` × 8 columns from `first` on.
template <typename Step, int kRows, int kVectors, bool kStream>
[[gnu::always_inline]] inline void columns_avx2(const std::byte* a, const std::byte* w,
                                                std::int64_t steps, std::byte* c, int first,
                                                bool accumulate) {
  typename Step::Reg sum[kRows][kVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = accumulate ? Step::load(c + i * 128 + (first + v) * 32) : Step::zero();
    }
  }
#pragma GCC unroll 4
  for (; steps > 0; --steps) {
    if constexpr (kStream) {
      for (int line = 0; line < Step::kStepBytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(w) + kAvx2AheadBytes + line, _MM_HINT_T0);
      }
    }
    typename Step::Reg column[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) column[v] = Step::load_w(w, first + v);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const typename Step::Reg x = Step::broadcast(a + i * 4);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sum[i][v] = Step::multiply_add(sum[i][v], column[v], x);
      }
    }
    a += kRows * 4;
    w += Step::kStepBytes;
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Step::store(c + i * 128 + (first + v) * 32, sum[i][v]);
    }
  }
}

/// c[kRows][32] (+)= strip [steps][kRows dwords] · panel.
template <typename Step, int kRows, bool kStream>
void step_tile_avx2(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                    bool accumulate) {
  auto* tile = static_cast<std::byte*>(c);
  // Two rows of 32 columns leave registers for W: 8 sums, 4 columns, a broadcast.
  if constexpr (kRows <= 2) {
    columns_avx2<Step, kRows, 4, kStream>(a, w, steps, tile, 0, accumulate);
  } else {
    columns_avx2<Step, kRows, 2, kStream>(a, w, steps, tile, 0, accumulate);
    columns_avx2<Step, kRows, 2, false>(a, w, steps, tile, 2, accumulate);
  }
}

template <typename Step, bool kStream, int... kRowsLessOne>
const TileFunction* step_tiles_avx2(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {nullptr,
                                            &step_tile_avx2<Step, kRowsLessOne + 1, kStream>...};
  return kTiles;
}

/// c[kPanels][32] = one row · each of `kPanels` panels, which are read side by side.
template <typename Step, int kPanels>
void row_of_panels_avx2(const std::byte* a, const std::byte* const* w, std::int64_t steps,
                        std::byte* c) {
  typename Step::Reg sum[kPanels][4];
  const std::byte* from[kPanels];
#pragma GCC unroll 3
  for (int p = 0; p < kPanels; ++p) {
    from[p] = w[p];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sum[p][v] = Step::zero();
  }
  for (; steps > 0; --steps, a += 4) {
    const typename Step::Reg x = Step::broadcast(a);
#pragma GCC unroll 3
    for (int p = 0; p < kPanels; ++p) {
      _mm_prefetch(reinterpret_cast<const char*>(from[p]) + kAvx2RowAheadBytes, _MM_HINT_T0);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        sum[p][v] = Step::multiply_add(sum[p][v], Step::load_w(from[p], v), x);
      }
      from[p] += Step::kStepBytes;
    }
  }
#pragma GCC unroll 3
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) Step::store(c + p * 128 + v * 32, sum[p][v]);
  }
}

/// The tile set of one kind of step.
template <typename Step>
TileSet step_tile_set_avx2(StoreFunction store) {
  constexpr auto kRows = std::make_integer_sequence<int, kAvx2TileRows>{};
  TileSet set;
  set.max_rows = kAvx2TileRows;
  set.columns = kAvx2TileColumns;
  set.a_step_bytes = 4;
  set.w_step_bytes = Step::kStepBytes;
  set.passes = 2;
  set.tile = step_tiles_avx2<Step, false>(kRows);
  set.streaming = step_tiles_avx2<Step, true>(kRows);
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
