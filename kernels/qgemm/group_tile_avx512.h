// Register tile of the group-wise int8 products with AVX-512 VNNI: up to 6 rows × 32 columns, 12
// int32 sums of the running group and 12 fp32 sums, all in registers.
//
// A strip holds, for every group, its dwords [kDwords][rows], then fp32 scale[rows], then what a
// group's sum needs besides: int32 start[rows] (−offset·Σx of the group, so that W's codes may be
// unsigned), or, where W has minima, fp32 scale·Σx. A panel holds the groups' codes and, inline,
// their scales: one stream.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/fetch_ahead.h"
#include "kernels/qgemm/group_formats.h"
#include "kernels/qgemm/tile_avx512.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

/// Rows of the largest tile; q4_k, with its minima, spills at 6.
inline constexpr int kGroupTileRows = 6;
/// Dwords that follow a group in a strip, per row.
inline constexpr int kGroupExtraDwords = 2;

/// A step is one group with fp16 scales; codes are raised to be unsigned.
template <int kGroupSize, bool kNibble>
struct PlainGroupsAvx512 : PlainGroups<kGroupSize, kNibble, 4> {
  using Base = PlainGroups<kGroupSize, kNibble, 4>;
  static constexpr int kMaxRows = kGroupTileRows;
  static constexpr int kDwords = kGroupSize / 4;
  static __m512 scale(const std::byte* step, int /*sub*/, int half) {
    return _mm512_cvtph_ps(
        _mm256_load_si256(reinterpret_cast<const __m256i*>(step + Base::kCodeBytes + half * 32)));
  }
};

/// A step is a super-block of q4_k.
struct Q4kGroupsAvx512 : Q4kGroups<4> {
  static constexpr int kMaxRows = 5;
  static constexpr int kDwords = kGroup / 4;
  static __m512 product(const std::byte* codes, const std::byte* factors) {
    const __m512i code =
        _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(codes)));
    const __m512 factor =
        _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(factors)));
    return _mm512_mul_ps(_mm512_cvtepi32_ps(code), factor);
  }
  static __m512 scale(const std::byte* step, int sub, int half) {
    return product(step + kScaleAt + sub * kSubBytes + half * 16, step + kDAt + half * 32);
  }
  static __m512 minimum(const std::byte* step, int sub, int half) {
    return product(step + kMinimumAt + sub * kSubBytes + half * 16, step + kDMinAt + half * 32);
  }
};

template <int kRows>
struct GroupSums {
  __m512i group[kRows][2];
  __m512 total[kRows][2];
};

/// Adds one dword of K for all rows.
template <int kRows>
[[gnu::always_inline]] inline void add_dword(GroupSums<kRows>& s, __m512i w0, __m512i w1,
                                             const std::byte* a) {
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    const __m512i x = DwordVnni::broadcast(a + i * 4);
    s.group[i][0] = DwordVnni::multiply_add(s.group[i][0], w0, x);
    s.group[i][1] = DwordVnni::multiply_add(s.group[i][1], w1, x);
  }
}

/// The integer sums of one group for a single row, from its start value. Two columns' chains would
/// wait for one another's latency (4 cycles for every product), so there are four: even and odd
/// dwords apart. High nibbles are multiplied where they stand, 16 times too large.
template <typename Format, bool kStream>
[[gnu::always_inline]] inline void add_single_row(GroupSums<1>& s, const std::byte* a,
                                                  const std::byte* w) {
  const std::byte* start = a + (Format::kDwords + 1) * 4;
  __m512i even[2];
  __m512i odd[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  even[0] = even[1] = Format::kMinima ? _mm512_setzero_si512() : DwordVnni::broadcast(start);
#pragma GCC unroll 1
  for (int d = 0; d < Format::kDwords; d += 2) {
    const __m512i x0 = DwordVnni::broadcast(a + d * 4);
    const __m512i x1 = DwordVnni::broadcast(a + d * 4 + 4);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m512i codes = _mm512_load_si512(w + half * 64);
      if constexpr (Format::kNibbles) {
        even[half] =
            DwordVnni::multiply_add(even[half], _mm512_and_si512(codes, _mm512_set1_epi8(15)), x0);
        odd[half] = DwordVnni::multiply_add(
            odd[half], _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>(0xf0))), x1);
      } else {
        even[half] = DwordVnni::multiply_add(even[half], codes, x0);
        odd[half] = DwordVnni::multiply_add(odd[half], _mm512_load_si512(w + 128 + half * 64), x1);
      }
    }
    constexpr int kBytes = Format::kNibbles ? 128 : 256;
    if constexpr (kStream) fetch_ahead<kBytes, Ahead::kNear>(w);
    w += kBytes;
  }
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const __m512i rest = Format::kNibbles ? _mm512_srai_epi32(odd[half], 4) : odd[half];
    s.group[0][half] = _mm512_add_epi32(even[half], rest);
  }
}

/// The integer sums of one group, from its start values.
template <typename Format, int kRows, bool kStream>
[[gnu::always_inline]] inline void add_group(GroupSums<kRows>& s, const std::byte* a,
                                             const std::byte* w) {
  const std::byte* start = a + (Format::kDwords + 1) * kRows * 4;
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    s.group[i][0] = Format::kMinima ? _mm512_setzero_si512() : DwordVnni::broadcast(start + i * 4);
    s.group[i][1] = s.group[i][0];
  }
  for (int d = 0; d < Format::kDwords; d += Format::kNibbles ? 2 : 1) {
    const __m512i w0 = _mm512_load_si512(w);
    const __m512i w1 = _mm512_load_si512(w + 64);
    if constexpr (kStream) fetch_ahead<128, Ahead::kFar>(w);
    if constexpr (Format::kNibbles) {
      const __m512i low = _mm512_set1_epi8(15);
      add_dword<kRows>(s, _mm512_and_si512(w0, low), _mm512_and_si512(w1, low), a);
      a += kRows * 4;
      add_dword<kRows>(s, _mm512_and_si512(_mm512_srli_epi16(w0, 4), low),
                       _mm512_and_si512(_mm512_srli_epi16(w1, 4), low), a);
    } else {
      add_dword<kRows>(s, w0, w1, a);
    }
    a += kRows * 4;
    w += 128;
  }
}

/// total += scale_x · scale_w · group (− scale_x · Σx · minimum).
template <typename Format, int kRows>
[[gnu::always_inline]] inline void scale_group(GroupSums<kRows>& s, const std::byte* a,
                                               const std::byte* step, int sub) {
  const std::byte* scales = a + Format::kDwords * kRows * 4;
  const std::byte* sums = scales + kRows * 4;
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const __m512 w = Format::scale(step, sub, half);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const __m512 scale = _mm512_mul_ps(w, DwordF32::broadcast(scales + i * 4));
      s.total[i][half] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(s.group[i][half]), scale, s.total[i][half]);
    }
    if constexpr (Format::kMinima) {
      const __m512 minimum = Format::minimum(step, sub, half);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) {
        s.total[i][half] =
            _mm512_fnmadd_ps(minimum, DwordF32::broadcast(sums + i * 4), s.total[i][half]);
      }
    }
  }
}

/// c[kRows][32] fp32 (+)= strip · panel over `steps` groups or super-blocks.
template <typename Format, int kRows, bool kStream>
void group_tile_avx512(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                       bool accumulate) {
  auto* tile = static_cast<std::byte*>(c);
  GroupSums<kRows> s;
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    s.total[i][0] = accumulate ? _mm512_load_ps(tile + i * 128) : _mm512_setzero_ps();
    s.total[i][1] = accumulate ? _mm512_load_ps(tile + i * 128 + 64) : _mm512_setzero_ps();
  }
  constexpr Ahead kAhead = kRows == 1 ? Ahead::kNear : Ahead::kFar;
  for (; steps > 0; --steps) {
    if constexpr (kStream) fetch_ahead<Format::kCodesAt, kAhead>(w);
    for (int sub = 0; sub < Format::kSubGroups; ++sub) {
      const std::byte* codes = w + Format::kCodesAt + sub * Format::kSubBytes;
      if constexpr (kRows == 1) {
        add_single_row<Format, kStream>(s, a, codes);
      } else {
        add_group<Format, kRows, kStream>(s, a, codes);
      }
      constexpr int kScaleBytes = Format::kSubBytes - Format::kCodeBytes;
      if constexpr (kStream) fetch_ahead<kScaleBytes, kAhead>(codes + Format::kCodeBytes);
      scale_group<Format, kRows>(s, a, w, sub);
      a += (Format::kDwords + kGroupExtraDwords) * kRows * 4;
    }
    w += Format::kStepBytes;
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i) {
    _mm512_store_ps(tile + i * 128, s.total[i][0]);
    _mm512_store_ps(tile + i * 128 + 64, s.total[i][1]);
  }
}

/// `kStreamSingle`: whether the tile of a single row prefetches W.
template <typename Format, bool kStream, bool kStreamSingle, int... kRowsLessOne>
const TileFunction* group_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {nullptr, &group_tile_avx512 < Format, kRowsLessOne + 1,
                                            kRowsLessOne == 0 ? kStreamSingle : kStream > ...};
  return kTiles;
}

/// The tile set of one group format.
template <typename Format>
TileSet group_tile_set(StoreFunction store) {
  constexpr auto kRows = std::make_integer_sequence<int, Format::kMaxRows>{};
  TileSet set;
  set.max_rows = Format::kMaxRows;
  set.columns = kTileColumns;
  set.a_step_bytes = std::int64_t{Format::kSubGroups} * (Format::kDwords + kGroupExtraDwords) * 4;
  set.w_step_bytes = Format::kStepBytes;
  set.tile = group_tiles<Format, false, false>(kRows);
  set.streaming = fetches_near() ? group_tiles<Format, true, true>(kRows)
                                 : group_tiles<Format, true, false>(kRows);
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
