// Rows of codes for byte_tile_avx2.h: sums, s8, the order of words, and the pairs that vpmaddubsw
// cannot hold, found while x is packed.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/qgemm/byte_tile_avx2.h"
#include "kernels/qgemm/pair_excess.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

static_assert(PairExcess::kStepCodes == kByteStepK);

/// What 8 pairs of codes have too much, in place of the larger code of each; 0 where a pair fits,
/// as all of two signs do. `pairs` are their sums.
inline __m256i excess_of_pairs_avx2(__m256i codes, __m256i pairs) {
  const __m256i most = _mm256_set1_epi32(128);
  const __m256i fitting = _mm256_max_epi32(_mm256_min_epi32(pairs, most),
                                           _mm256_sub_epi32(_mm256_setzero_si256(), most));
  const __m256i excess = _mm256_sub_epi32(pairs, fitting);
  const __m256i first = _mm256_abs_epi32(_mm256_srai_epi32(_mm256_slli_epi32(codes, 16), 16));
  const __m256i second = _mm256_abs_epi32(_mm256_srai_epi32(codes, 16));
  return _mm256_blendv_epi8(_mm256_and_si256(excess, _mm256_set1_epi32(0xffff)),
                            _mm256_slli_epi32(excess, 16), _mm256_cmpgt_epi32(second, first));
}

/// 16 codes as s8.
inline __m128i narrow_codes_avx2(__m256i codes) {
  return _mm_packs_epi16(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
}

/// Every four codes as a dword of a strip [steps][rows].
struct StripRow {
  std::uint32_t* first = nullptr;
  std::int64_t rows = 0;

  /// Up to four steps.
  void store(std::int64_t step, std::int64_t steps, __m128i codes) const {
    std::uint32_t* to = first + step * rows;
    to[0] = static_cast<std::uint32_t>(_mm_cvtsi128_si32(codes));
    if (steps > 1) to[rows] = static_cast<std::uint32_t>(_mm_extract_epi32(codes, 1));
    if (steps > 2) to[2 * rows] = static_cast<std::uint32_t>(_mm_extract_epi32(codes, 2));
    if (steps > 3) to[3 * rows] = static_cast<std::uint32_t>(_mm_extract_epi32(codes, 3));
  }
};

/// What pack_row_avx2 finds.
struct PackedRow {
  std::int32_t sum = 0;  ///< of all codes; wraps
  bool fits = true;      ///< there was room for its excess
};

/// Packs row `row` as s8 without its excess; codes: 4 · steps of them, and zeros to a multiple
/// of 16.
inline PackedRow pack_row_avx2(std::int64_t row, const std::int16_t* codes, std::int64_t steps,
                               PairExcess& excess, const StripRow& strip) {
  constexpr int kUnitSteps = 16 / PairExcess::kStepCodes;
  PairExcess::Entry* entries = excess.room(row);
  std::int64_t entry_count = 0;
  PackedRow packed;
  __m256i sums = _mm256_setzero_si256();
  for (std::int64_t step = 0; step < steps; step += kUnitSteps) {
    __m256i words =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + step * PairExcess::kStepCodes));
    const __m256i pairs = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    sums = _mm256_add_epi32(sums, pairs);
    const __m256i large = _mm256_cmpgt_epi32(_mm256_abs_epi32(pairs), _mm256_set1_epi32(128));
    if (_mm256_movemask_epi8(large) != 0) {
      const __m256i more = excess_of_pairs_avx2(words, pairs);
      words = _mm256_sub_epi16(words, more);
      alignas(16) std::uint32_t parts[kUnitSteps];
      _mm_store_si128(reinterpret_cast<__m128i*>(parts), narrow_codes_avx2(more));
      for (int i = 0; i < kUnitSteps; ++i) {
        if (parts[i] == 0) continue;
        if (entry_count == excess.capacity()) {
          packed.fits = false;
          break;
        }
        entries[entry_count].step = static_cast<std::int32_t>(step + i);
        std::memcpy(entries[entry_count].codes, &parts[i], sizeof(parts[i]));
        ++entry_count;
      }
    }
    strip.store(step, steps - step, narrow_codes_avx2(words));
  }
  excess.set_count(row, entry_count);
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  packed.sum = _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_srli_epi64(two, 32)));
  return packed;
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

}  // namespace pareto

#pragma GCC pop_options
