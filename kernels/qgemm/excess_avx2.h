// Rows of codes for byte_tile_avx2.h: sums, s8, the order of words, and the pairs that vpmaddubsw
// cannot hold, found while x is packed and multiplied when a tile is finished.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/qgemm/byte_tile_avx2.h"
#include "kernels/qgemm/pair_excess.h"
#include "kernels/qgemm/store_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

/// Σ codes, `count` of them a multiple of 16.
inline std::int32_t sum_codes_avx2(const std::int16_t* codes, std::int64_t count) {
  __m256i sums = _mm256_setzero_si256();
  for (std::int64_t k = 0; k < count; k += 16) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + k));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(words, _mm256_set1_epi16(1)));
  }
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_srli_epi64(two, 32)));
}

/// The same codes as s8, in place.
inline void narrow_codes_avx2(std::int16_t* codes, std::int64_t count) {
  auto* bytes = reinterpret_cast<std::int8_t*>(codes);
  for (std::int64_t k = 0; k < count; k += 16) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + k));
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(bytes + k),
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  }
}

/// Every four codes from (x0, x1, x2, x3) to (x0, x2, x1, x3), in place.
inline void part_codes_avx2(std::int16_t* codes, std::int64_t count) {
  const __m256i order = _mm256_broadcastsi128_si256(
      _mm_set_epi8(15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0));
  for (std::int64_t k = 0; k < count; k += 16) {
    auto* place = reinterpret_cast<__m256i*>(codes + k);
    _mm256_storeu_si256(place, _mm256_shuffle_epi8(_mm256_loadu_si256(place), order));
  }
}

/// Moves the excess of row `row`, `count` codes, a multiple of 16; false if it has too much.
inline bool take_excess_avx2(std::int64_t row, std::int16_t* codes, std::int64_t count,
                             PairExcess& excess) {
  excess.clear(row);
  const __m256i most = _mm256_set1_epi32(128);
  for (std::int64_t k = 0; k < count; k += 16) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + k));
    const __m256i pairs = _mm256_abs_epi32(_mm256_madd_epi16(words, _mm256_set1_epi16(1)));
    if (_mm256_movemask_epi8(_mm256_cmpgt_epi32(pairs, most)) == 0) continue;
    for (std::int64_t at = k; at < k + 16; at += PairExcess::kStepCodes) {
      if (!excess.take(row, at / PairExcess::kStepCodes, codes + at)) return false;
    }
  }
  return true;
}

/// sum[32] += the excess of one row · panel.
inline void add_excess_avx2(std::span<const PairExcess::Entry> entries, const std::byte* panel,
                            __m256i* sum) {
  constexpr int kVectors = ByteStepAvx2::kStepBytes / 32;
  __m256i total[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) total[v] = _mm256_load_si256(sum + v);
  for (const PairExcess::Entry& e : entries) {
    const __m256i x = broadcast_dword_avx2(reinterpret_cast<const std::byte*>(e.codes));
    const std::byte* w = panel + std::int64_t{e.step} * ByteStepAvx2::kStepBytes;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      total[v] = ByteStepAvx2::multiply_add(total[v], ByteStepAvx2::load(w + v * 32), x);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) _mm256_store_si256(sum + v, total[v]);
}

/// As store_s32_avx2 of c[rows][32], plus the excess.
inline void store_excess_s32_avx2(const Epilogue& e, const TileRect& rect, const void* c) {
  constexpr int kRowVectors = kAvx2TileColumns / 8;
  alignas(64) __m256i sums[kAvx2TileRows * kRowVectors];
  std::copy_n(static_cast<const __m256i*>(c), rect.rows * kRowVectors, sums);
  const std::byte* panel = e.panels + rect.column / kAvx2TileColumns * e.panel_bytes;
  for (int i = 0; i < rect.rows; ++i) {
    add_excess_avx2(e.excess->row(rect.row + i), panel, sums + i * kRowVectors);
  }
  store_s32_avx2(e, rect, sums);
}

}  // namespace pareto

#pragma GCC pop_options
