// Register tiles of decode with VNNI: up to four rows against one page of an int8 cache.
//
// Included inside a `#pragma GCC target` region. K lies as unsigned bytes, 128 more than its codes;
// q is two signed bytes, q ≈ unit·(128·high + low). Sums start at −128·Σq, so that they end at
// those of the codes.
#pragma once

#include <immintrin.h>

#include <array>
#include <bit>
#include <cstdint>
#include <utility>

#include "kernels/attention/decode_pages.h"

namespace pareto {

inline constexpr std::int64_t kInt8PageKeys = 32;
inline constexpr std::int64_t kInt8Pair = 4;  ///< products per dword

/// c += four products per dword, unsigned times signed. The intrinsic of GCC 12 copies its
/// accumulator and leaves zmm16 … 31 alone, so that sums spill.
inline __attribute__((always_inline)) void add_products(__m512i& c, __m512i bytes,
                                                        __m512i signed_bytes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(bytes), "v"(signed_bytes));
}

/// s[R][32] = high and low words of q [R][steps] · K [steps][32][4], as fp32.
template <int R>
void int8_score_tile(const std::uint32_t* q, const Int8QueryLayout& layout, const std::byte* k,
                     float* s, std::int64_t lds) {
  __m512i acc[R][2][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto* offset =
        reinterpret_cast<const std::int32_t*>(q + r * layout.stride() + layout.offsets());
    acc[r][0][0] = acc[r][0][1] = _mm512_set1_epi32(offset[0]);
    acc[r][1][0] = acc[r][1][1] = _mm512_set1_epi32(offset[1]);
  }
  for (std::int64_t step = 0; step < layout.steps; ++step) {
    const __m512i first = _mm512_loadu_si512(k + step * 128);
    const __m512i second = _mm512_loadu_si512(k + step * 128 + 64);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const std::uint32_t* words = q + r * layout.stride() + step;
      const __m512i high = _mm512_set1_epi32(static_cast<int>(words[0]));
      const __m512i low = _mm512_set1_epi32(static_cast<int>(words[layout.part()]));
      add_products(acc[r][0][0], first, high);
      add_products(acc[r][0][1], second, high);
      add_products(acc[r][1][0], first, low);
      add_products(acc[r][1][1], second, low);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < 2; ++c) {
      const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(acc[r][0][c], 7), acc[r][1][c]);
      _mm512_storeu_ps(s + r * lds + c * 16, _mm512_cvtepi32_ps(sum));
    }
  }
}

/// o[R][C · 16] += step of the row · (weights [R][8 words] · V [8][C · 16][4]). The step stands
/// behind the weights.
template <int R, int C>
void int8_value_tile(const std::uint32_t* weights, std::int64_t ldp, const std::byte* v, float* o,
                     std::int64_t ldo) {
  constexpr int kQuads = kInt8PageKeys / kInt8Pair;
  __m512i acc[R][C];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) acc[r][c] = _mm512_setzero_si512();
  }
#pragma GCC unroll 1  // else loads are hoisted until sums spill
  for (int quad = 0; quad < kQuads; ++quad) {
    __m512i w[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) w[c] = _mm512_loadu_si512(v + (quad * C + c) * 64);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512i p = _mm512_set1_epi32(static_cast<int>(weights[r * ldp + quad]));
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) add_products(acc[r][c], p, w[c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const __m512 step = _mm512_set1_ps(std::bit_cast<float>(weights[r * ldp + kQuads]));
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      float* to = o + r * ldo + c * 16;
      _mm512_storeu_ps(to,
                       _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[r][c]), step, _mm512_loadu_ps(to)));
    }
  }
}

inline constexpr int kInt8Rows = 4;  ///< 16 sums in Q·Kᵀ and in P·V
inline constexpr int kInt8Columns = 4;

using Int8ScoreTile = void (*)(const std::uint32_t*, const Int8QueryLayout&, const std::byte*,
                               float*, std::int64_t);
using Int8ValueTile = void (*)(const std::uint32_t*, std::int64_t, const std::byte*, float*,
                               std::int64_t);
template <int... kAt>
constexpr std::array<Int8ScoreTile, sizeof...(kAt)> int8_score_tiles(
    std::integer_sequence<int, kAt...> /*rows*/) {
  return {&int8_score_tile<kAt + 1>...};
}
template <int... kAt>
constexpr std::array<Int8ValueTile, sizeof...(kAt)> int8_value_tiles(
    std::integer_sequence<int, kAt...> /*rows and columns*/) {
  return {&int8_value_tile<kAt / kInt8Columns + 1, kAt % kInt8Columns + 1>...};
}
inline constexpr auto kInt8ScoreTiles =
    int8_score_tiles(std::make_integer_sequence<int, kInt8Rows>{});
inline constexpr auto kInt8ValueTiles =
    int8_value_tiles(std::make_integer_sequence<int, kInt8Rows * kInt8Columns>{});

}  // namespace pareto
