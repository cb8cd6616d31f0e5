// Register tile over compressed W, decoded in registers: up to 6 rows × 32 columns (8 without
// scales), sums of the running group and of all groups in registers.
//
// A step is one scale group: kGroup/kElements pairs of 64-byte vectors (columns 0–15, 16–31), then
// the scales, then what else the codes need per column: one stream. The scale waits for the end of
// its group, so that codes stay exact. Strip: per group its dwords [kDwords][rows] and, where x has
// scales per group, fp32 scale[rows].
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/code_values_avx512.h"
#include "kernels/qgemm/coded_panels.h"
#include "kernels/qgemm/fetch_ahead.h"
#include "kernels/qgemm/tile_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "kernels/vector_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

inline constexpr int kCodedTileRows = 6;

template <ScaleKind kKind>
struct StepScale {
  static constexpr int kBytes = kKind == ScaleKind::kNone ? 0 : kKind == ScaleKind::kF32 ? 128 : 64;
  static __m512 load(const std::byte* scales, int half) {
    if constexpr (kKind == ScaleKind::kF32) {
      return _mm512_load_ps(scales + std::ptrdiff_t{half} * 64);
    } else if constexpr (kKind == ScaleKind::kPanel) {
      return DwordF32::broadcast(scales);
    } else {
      const __m256i stored = _mm256_load_si256(reinterpret_cast<const __m256i*>(scales) + half);
      return kKind == ScaleKind::kF16 ? _mm512_cvtph_ps(stored) : from_bf16_avx512(stored);
    }
  }
};

/// One compressed layout. `kMost` rows are what the registers hold.
template <typename CodesOf, int kGroupSize, ScaleKind kScaleKind, bool kScalesX = false,
          int kMost = kCodedTileRows>
struct CodedFormat {
  using Codes = CodesOf;
  using Scale = StepScale<kScaleKind>;
  static constexpr ScaleKind kScale = kScaleKind;
  static constexpr bool kXScale = kScalesX;
  static constexpr int kMaxRows = kMost;
  static constexpr int kGroup = kGroupSize;
  static constexpr int kVectors = kGroup / Codes::kElements;
  static constexpr int kCodeBytes = kVectors * 128;
  static constexpr int kColumnsAt = kCodeBytes + Scale::kBytes;
  static constexpr int kStepBytes = kColumnsAt + Codes::Columns::kBytes;
  static constexpr int kDwords = kVectors * Codes::kSteps;
  static constexpr int kExtraDwords = kXScale ? 1 : 0;
};

/// Independent sums per element: the latency of the product shows where rows are few.
constexpr int coded_chains(int rows, int steps) {
  const int chains = rows == 1 ? 4 : rows == 2 ? 2 : 1;
  return chains < steps ? chains : steps;
}

template <typename Format, int kRows>
struct CodedSums {
  static constexpr int kChains = coded_chains(kRows, Format::Codes::kSteps);
  __m512 group[kChains][kRows][2];
  __m512 total[kRows][2];
  void clear() {
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; ++chain) {
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        group[chain][r][0] = _mm512_setzero_ps();
        group[chain][r][1] = _mm512_setzero_ps();
      }
    }
  }
  [[nodiscard]] __m512 joined(int r, int half) const {
    __m512 sum = group[0][r][half];
#pragma GCC unroll 4
    for (int chain = 1; chain < kChains; ++chain) sum = _mm512_add_ps(sum, group[chain][r][half]);
    return sum;
  }
};

/// Adds one vector of codes of either half to all rows.
template <typename Format, int kRows>
[[gnu::always_inline]] inline void add_vector(CodedSums<Format, kRows>& s,
                                              const typename Format::Codes& codes,
                                              const typename Format::Codes::Columns& left,
                                              const typename Format::Codes::Columns& right,
                                              const std::byte* a, const std::byte* w) {
  using Codes = typename Format::Codes;
  const typename Codes::Vector v0 = codes.load(w, left);
  const typename Codes::Vector v1 = codes.load(w + 64, right);
#pragma GCC unroll 8
  for (int i = 0; i < Codes::kSteps; ++i) {
    const __m512 w0 = codes.value(v0, left, i);
    const __m512 w1 = codes.value(v1, right, i);
    auto& sum = s.group[i % CodedSums<Format, kRows>::kChains];
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const __m512 x = DwordF32::broadcast(a + (i * kRows + r) * 4);
      sum[r][0] = Codes::Dword::multiply_add(sum[r][0], w0, x);
      sum[r][1] = Codes::Dword::multiply_add(sum[r][1], w1, x);
    }
  }
}

/// total += scale of w (· scale of x) · group
template <typename Format, int kRows>
[[gnu::always_inline]] inline void scale_sums(CodedSums<Format, kRows>& s,
                                              const std::byte* x_scales, const std::byte* scales) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const __m512 w_scale = Format::Scale::load(scales, half);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      __m512 scale = w_scale;
      if constexpr (Format::kXScale) {
        scale = _mm512_mul_ps(scale, DwordF32::broadcast(x_scales + r * 4));
      }
      s.total[r][half] = _mm512_fmadd_ps(s.joined(r, half), scale, s.total[r][half]);
    }
  }
}

/// c[kRows][32] fp32 (+)= strip · panel over `steps` groups.
template <typename Format, int kRows, bool kStream>
void coded_tile_avx512(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                       bool accumulate) {
  using Codes = typename Format::Codes;
  constexpr bool kScaled = Format::kScale != ScaleKind::kNone;
  // Bytes of one row are decoded about as fast as they come (fp8_e4m3: 643 against 547 us).
  constexpr Ahead kAhead = kRows == 1 && Codes::kElements == 4 ? Ahead::kNear : Ahead::kFar;
  auto* tile = static_cast<std::byte*>(c);
  const Codes codes;
  CodedSums<Format, kRows> s;
  s.clear();
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m512& first = kScaled ? s.total[r][half] : s.group[0][r][half];
      first = accumulate ? _mm512_load_ps(tile + r * 128 + half * 64) : _mm512_setzero_ps();
    }
  }
  for (; steps > 0; --steps) {
    if constexpr (kScaled) s.clear();
    const typename Codes::Columns left(w + Format::kColumnsAt, 0);
    const typename Codes::Columns right(w + Format::kColumnsAt, 1);
#pragma GCC unroll 1
    for (int v = 0; v < Format::kVectors; ++v) {
      if constexpr (kStream) fetch_ahead<128, kAhead>(w);
      add_vector<Format, kRows>(s, codes, left, right, a, w);
      a += Codes::kSteps * kRows * 4;
      w += 128;
    }
    if constexpr (kStream) fetch_ahead<Format::kStepBytes - Format::kCodeBytes, kAhead>(w);
    if constexpr (kScaled) scale_sums<Format, kRows>(s, a, w);
    a += Format::kExtraDwords * kRows * 4;
    w += Format::kStepBytes - Format::kCodeBytes;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    _mm512_store_ps(tile + r * 128, kScaled ? s.total[r][0] : s.joined(r, 0));
    _mm512_store_ps(tile + r * 128 + 64, kScaled ? s.total[r][1] : s.joined(r, 1));
  }
}

template <typename Format, bool kStream, int... kRowsLessOne>
const TileFunction* coded_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {
      nullptr, &coded_tile_avx512<Format, kRowsLessOne + 1, kStream>...};
  return kTiles;
}

/// Tiles that decode W again for every strip: for few rows.
template <typename Format>
TileSet coded_tile_set(StoreFunction store) {
  constexpr auto kRows = std::make_integer_sequence<int, Format::kMaxRows>{};
  TileSet set;
  set.max_rows = Format::kMaxRows;
  set.columns = kTileColumns;
  set.a_step_bytes = (Format::kDwords + Format::kExtraDwords) * 4;
  set.w_step_bytes = Format::kStepBytes;
  set.tile = coded_tiles<Format, false>(kRows);
  set.streaming = coded_tiles<Format, true>(kRows);
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
