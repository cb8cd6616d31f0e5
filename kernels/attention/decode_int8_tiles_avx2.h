// Register tiles of decode with vpmaddwd: some rows against one page of an int8 cache.
//
// Included inside a `#pragma GCC target` region. Codes are widened to 16 bits as they are loaded;
// q and the weights have that width already.
#pragma once

#include <immintrin.h>

#include <array>
#include <bit>
#include <cstdint>
#include <utility>

#include "kernels/attention/decode_pages.h"
#include "kernels/attention/decode_tiles.h"

namespace pareto {

inline constexpr int kWordPageRegs = 4;  ///< of keys
inline constexpr std::int64_t kWordPageKeys = kWordPageRegs * 8;
inline constexpr std::int64_t kWordPageStep = kWordPageRegs * 16;  ///< bytes of K per dword of q
inline constexpr int kWordScoreRows = 2;  ///< 8 sums, four registers of keys
inline constexpr int kWordColumns = 2;    ///< of registers in P·V

inline __m256i widened_codes(const std::byte* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
/// c += two products per dword. GCC 12 copies sums of integers once a step unless it is told that
/// they stay where they are.
[[gnu::always_inline]] inline void add_word_products(__m256i& c, __m256i a, __m256i b) {
  asm("vpaddd %1, %0, %0" : "+x"(c) : "x"(_mm256_madd_epi16(a, b)));
}
inline __m256i broadcast_words(const std::uint32_t* p) {
  return _mm256_set1_epi32(static_cast<int>(*p));
}

/// One dword of R rows of q times those of four registers of keys.
template <typename T, int R>
[[gnu::always_inline]] inline void add_word_scores(__m256i (&acc)[R][kWordPageRegs],
                                                   const std::uint32_t* q, std::int64_t ldq,
                                                   const std::byte* k) {
  fetch_ahead<T>(k, 0, kWordPageStep);
  __m256i codes[kWordPageRegs];
#pragma GCC unroll 4
  for (int n = 0; n < kWordPageRegs; ++n) codes[n] = widened_codes(k + n * 16);
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
    const __m256i x = broadcast_words(q + r * ldq);
#pragma GCC unroll 4
    for (int n = 0; n < kWordPageRegs; ++n) add_word_products(acc[r][n], codes[n], x);
  }
}

/// Two weights of R rows times those of C registers of columns.
template <int R, int C>
[[gnu::always_inline]] inline void add_word_values(__m256i (&acc)[R][C],
                                                   const std::uint32_t* weights, std::int64_t ldp,
                                                   const std::byte* v) {
  __m256i codes[C];
#pragma GCC unroll 2
  for (int c = 0; c < C; ++c) codes[c] = widened_codes(v + c * 16);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const __m256i p = broadcast_words(weights + r * ldp);
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) add_word_products(acc[r][c], codes[c], p);
  }
}

/// s[R][32] = q [R][steps][2] · K [steps][32][2], as fp32.
template <typename T, int R>
void word_score_tile(const std::uint32_t* q, const Int8QueryLayout& layout, const std::byte* k,
                     float* s, std::int64_t lds) {
  const std::int64_t ldq = layout.stride();
  __m256i acc[R][kWordPageRegs];
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kWordPageRegs; ++n) acc[r][n] = _mm256_setzero_si256();
  }
  std::int64_t step = 0;
  for (; step + 4 <= layout.steps; step += 4) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      add_word_scores<T>(acc, q + step + u, ldq, k + (step + u) * kWordPageStep);
    }
  }
  for (; step < layout.steps; ++step) {
    add_word_scores<T>(acc, q + step, ldq, k + step * kWordPageStep);
  }
#pragma GCC unroll 2
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int n = 0; n < kWordPageRegs; ++n) {
      _mm256_storeu_ps(s + r * lds + n * 8, _mm256_cvtepi32_ps(acc[r][n]));
    }
  }
}

/// o[R][C · 8] += step of the row · (weights [R][16][2] · V [16][C · 8][2]). The step stands behind
/// the weights.
template <typename T, int R, int C>
void word_value_tile(const std::uint32_t* weights, std::int64_t ldp, const std::byte* v, float* o,
                     std::int64_t ldo) {
  constexpr int kPairs = kWordPageKeys / 2;
  __m256i acc[R][C];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) acc[r][c] = _mm256_setzero_si256();
  }
  for (int pair = 0; pair < kPairs; pair += 4) {
#pragma GCC unroll 2
    for (int line = 0; line < C; ++line) fetch_ahead<T>(v + pair * C * 16, line * 64, 64);
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      add_word_values(acc, weights + pair + u, ldp, v + (pair + u) * C * 16);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const __m256 step = _mm256_set1_ps(std::bit_cast<float>(weights[r * ldp + kPairs]));
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      float* to = o + r * ldo + c * 8;
      _mm256_storeu_ps(to,
                       _mm256_fmadd_ps(_mm256_cvtepi32_ps(acc[r][c]), step, _mm256_loadu_ps(to)));
    }
  }
}

using WordScoreTile = void (*)(const std::uint32_t*, const Int8QueryLayout&, const std::byte*,
                               float*, std::int64_t);
using WordValueTile = void (*)(const std::uint32_t*, std::int64_t, const std::byte*, float*,
                               std::int64_t);

/// Tiles of 1 … rows and of 1 … kWordColumns registers of columns.
template <typename T>
class WordTiles {
 public:
  static constexpr auto score(std::int64_t rows) { return kScore[rows - 1]; }
  static constexpr auto add_values(std::int64_t rows, std::int64_t columns) {
    return kValue[(rows - 1) * kWordColumns + columns - 1];
  }

 private:
  template <int... kAt>
  static constexpr std::array<WordScoreTile, sizeof...(kAt)> scores(
      std::integer_sequence<int, kAt...> /*rows*/) {
    return {&word_score_tile<T, kAt + 1>...};
  }
  template <int... kAt>
  static constexpr std::array<WordValueTile, sizeof...(kAt)> values(
      std::integer_sequence<int, kAt...> /*rows and columns*/) {
    return {&word_value_tile<T, kAt / kWordColumns + 1, kAt % kWordColumns + 1>...};
  }

  static constexpr auto kScore = scores(std::make_integer_sequence<int, kWordScoreRows>{});
  static constexpr auto kValue = values(std::make_integer_sequence<int, T::kRows * kWordColumns>{});
};

}  // namespace pareto
