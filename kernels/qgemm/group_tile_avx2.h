// Register tile of the group-wise int8 products with AVX2: up to 3 rows × 16 columns, in two passes
// over a panel, with int32 sums of the running group and fp32 sums in registers.
//
// A strip holds, for every group, s16 pairs [kGroup/2][rows], then fp32 scale[rows], then int32
// start[rows] or, where W has minima, fp32 scale·Σx. W's codes are widened to s16 on loading:
// bytes signed, nibbles unsigned.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/group_formats.h"
#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

inline constexpr int kAvx2GroupRows = 3;
/// Dwords that follow a group in a strip, per row.
inline constexpr int kAvx2GroupExtra = 2;

inline __m256 load_fp16_avx2(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}

/// A step is one group with fp16 scales.
template <int kGroupSize, bool kNibble>
struct PlainGroupsAvx2 : PlainGroups<kGroupSize, kNibble, 2> {
  using Base = PlainGroups<kGroupSize, kNibble, 2>;
  static __m256 scale(const std::byte* step, int /*sub*/, int vector) {
    return load_fp16_avx2(step + Base::kCodeBytes + vector * 16);
  }
};

/// A step is a super-block of q4_k.
struct Q4kGroupsAvx2 : Q4kGroups<2> {
  static __m256 product(const std::byte* codes, const std::byte* factors) {
    const __m256i code =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes)));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(code), load_fp16_avx2(factors));
  }
  static __m256 scale(const std::byte* step, int sub, int vector) {
    return product(step + kScaleAt + sub * kSubBytes + vector * 8, step + kDAt + vector * 16);
  }
  static __m256 minimum(const std::byte* step, int sub, int vector) {
    return product(step + kMinimumAt + sub * kSubBytes + vector * 8, step + kDMinAt + vector * 16);
  }
};

template <int kRows, int kVectors>
struct GroupSumsAvx2 {
  __m256i group[kRows][kVectors];
  __m256 total[kRows][kVectors];
};

/// Adds one pair of K.
template <int kRows, int kVectors>
[[gnu::always_inline]] inline void add_pair_avx2(GroupSumsAvx2<kRows, kVectors>& s,
                                                 const __m256i (&w)[kVectors], const std::byte* a) {
#pragma GCC unroll 3
  for (int i = 0; i < kRows; ++i) {
    const __m256i x = Avx2StepS16::broadcast(a + i * 4);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      s.group[i][v] = Avx2StepS16::multiply_add(s.group[i][v], w[v], x);
    }
  }
}

/// The integer sums of one group over columns from `first` · 8 on.
template <typename Format, int kRows, int kVectors>
[[gnu::always_inline]] inline void add_group_avx2(GroupSumsAvx2<kRows, kVectors>& s,
                                                  const std::byte* a, const std::byte* w,
                                                  int first) {
  constexpr int kPairs = Format::kGroup / 2;
  const std::byte* start = a + (kPairs + 1) * kRows * 4;
#pragma GCC unroll 3
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      s.group[i][v] =
          Format::kMinima ? _mm256_setzero_si256() : Avx2StepS16::broadcast(start + i * 4);
    }
  }
  w += first * 16;
  // Unrolled whole, the loop would have its widened codes spilled.
#pragma GCC unroll 1
  for (int pair = 0; pair < kPairs; pair += Format::kNibbles ? 2 : 1) {
    __m256i codes[kVectors];
    if constexpr (Format::kNibbles) {
      __m256i high[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const __m256i both =
            _mm256_cvtepu8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + v * 16)));
        codes[v] = _mm256_and_si256(both, _mm256_set1_epi16(15));
        high[v] = _mm256_srli_epi16(both, 4);
      }
      add_pair_avx2(s, codes, a);
      a += kRows * 4;
      add_pair_avx2(s, high, a);
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) codes[v] = Avx2StepS16::load_w(w, v);
      add_pair_avx2(s, codes, a);
    }
    a += kRows * 4;
    w += 64;
  }
}

/// total += scale_x · scale_w · group (− scale_x · Σx · minimum).
template <typename Format, int kRows, int kVectors>
[[gnu::always_inline]] inline void scale_group_avx2(GroupSumsAvx2<kRows, kVectors>& s,
                                                    const std::byte* a, const std::byte* step,
                                                    int sub, int first) {
  const std::byte* scales = a + Format::kGroup / 2 * kRows * 4;
  const std::byte* sums = scales + kRows * 4;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const __m256 w = Format::scale(step, sub, first + v);
#pragma GCC unroll 3
    for (int i = 0; i < kRows; ++i) {
      const __m256 scale = _mm256_mul_ps(w, Avx2StepF32::broadcast(scales + i * 4));
      s.total[i][v] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(s.group[i][v]), scale, s.total[i][v]);
    }
    if constexpr (Format::kMinima) {
      const __m256 minimum = Format::minimum(step, sub, first + v);
#pragma GCC unroll 3
      for (int i = 0; i < kRows; ++i) {
        s.total[i][v] =
            _mm256_fnmadd_ps(minimum, Avx2StepF32::broadcast(sums + i * 4), s.total[i][v]);
      }
    }
  }
}

/// Columns from `first` · 8 on, over all steps.
template <typename Format, int kRows, int kVectors>
[[gnu::always_inline]] inline void group_columns_avx2(const std::byte* a, const std::byte* w,
                                                      std::int64_t steps, std::byte* c, int first,
                                                      bool accumulate) {
  GroupSumsAvx2<kRows, kVectors> s;
#pragma GCC unroll 3
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      s.total[i][v] =
          accumulate ? Avx2StepF32::load(c + i * 128 + (first + v) * 32) : Avx2StepF32::zero();
    }
  }
  for (; steps > 0; --steps, w += Format::kStepBytes) {
    for (int sub = 0; sub < Format::kSubGroups; ++sub) {
      _mm_prefetch(reinterpret_cast<const char*>(w) + kAvx2AheadBytes + sub * Format::kSubBytes,
                   _MM_HINT_T0);
      add_group_avx2<Format>(s, a, w + Format::kCodesAt + sub * Format::kSubBytes, first);
      scale_group_avx2<Format>(s, a, w, sub, first);
      a += (Format::kGroup / 2 + kAvx2GroupExtra) * kRows * 4;
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Avx2StepF32::store(c + i * 128 + (first + v) * 32, s.total[i][v]);
    }
  }
}

/// c[kRows][32] fp32 (+)= strip · panel over `steps` groups or super-blocks.
template <typename Format, int kRows>
void group_tile_avx2(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                     bool accumulate) {
  auto* tile = static_cast<std::byte*>(c);
  group_columns_avx2<Format, kRows, 2>(a, w, steps, tile, 0, accumulate);
  group_columns_avx2<Format, kRows, 2>(a, w, steps, tile, 2, accumulate);
}

/// The tile set of one group format.
template <typename Format>
TileSet group_tile_set_avx2(StoreFunction store) {
  static constexpr TileFunction kTiles[] = {nullptr, &group_tile_avx2<Format, 1>,
                                            &group_tile_avx2<Format, 2>,
                                            &group_tile_avx2<Format, 3>};
  TileSet set;
  set.max_rows = kAvx2GroupRows;
  set.columns = kAvx2TileColumns;
  set.a_step_bytes = std::int64_t{Format::kSubGroups} * (Format::kGroup / 2 + kAvx2GroupExtra) * 4;
  set.w_step_bytes = Format::kStepBytes;
  set.passes = 2;
  set.tile = kTiles;
  set.streaming = kTiles;
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
