// Strips of x for the group-wise products with AVX2 (layout: group_runs_avx2.h): every group is
// quantized to s8, to the codes of reference/quantize.h exactly, and put in its place.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/qgemm/group_runs_avx2.h"
#include "kernels/qgemm/quantize_avx2.h"
#include "reference/quantize.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

/// Codes of 32 values.
inline __m256i quantize_32_avx2(const float* x, const UnitQuantizerAvx2& quantize) {
  // Both halves of packs come lane by lane.
  return _mm256_permute4x64_epi64(_mm256_packs_epi16(quantize(x), quantize(x + kUnit)), 0xd8);
}

/// Sums, in s16, of the first and of the last two values of every dword of 32 codes.
inline __m128i pair_sums_avx2(__m256i codes) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
  const __m128i four =
      _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  const __m128i two = _mm_add_epi16(four, _mm_unpackhi_epi64(four, four));
  return _mm_add_epi16(two, _mm_srli_epi64(two, 32));
}

/// One whole group of one row of a strip.
template <typename Format>
void pack_group_avx2(const float* x, int rows, std::byte* out) {
  const std::int64_t dword = std::int64_t{rows} * 4;
  const CodeRange range{.scale = scale_of(amax_avx2(x, Format::kGroup), 127)};
  std::byte* extra = out + Format::kGroup / 4 * dword;
  std::memcpy(extra, &range.scale, 4);
  const UnitQuantizerAvx2 quantize(range);
  __m128i sums = _mm_setzero_si128();
  for (int k = 0; k < Format::kGroup; k += 32) {
    alignas(32) std::byte codes[32];
    const __m256i vector = quantize_32_avx2(x + k, quantize);
    _mm256_store_si256(reinterpret_cast<__m256i*>(codes), vector);
    for (int d = 0; d < 8; ++d, out += dword) std::memcpy(out, codes + d * 4, 4);
    sums = _mm_add_epi16(sums, pair_sums_avx2(vector));
    if ((k + 32) % Format::kRun != 0) continue;
    extra += dword;
    if constexpr (Format::kMinima) {
      const int sum = _mm_cvtsi128_si32(_mm_madd_epi16(sums, _mm_set1_epi16(1)));
      const float scaled = range.scale * static_cast<float>(sum);
      std::memcpy(extra, &scaled, 4);
    } else if constexpr (Format::kRaise != 0) {
      const int start = _mm_cvtsi128_si32(_mm_mullo_epi16(sums, _mm_set1_epi16(-Format::kRaise)));
      std::memcpy(extra, &start, 4);
    }
    sums = _mm_setzero_si128();
  }
}

/// One row of a strip of `rows`, zeros beyond K; `out`: its place in the first dword.
template <typename Format>
void pack_row_groups_avx2(const float* x, std::int64_t K, std::int64_t steps, int rows,
                          std::byte* out) {
  const std::int64_t group_bytes = std::int64_t{Format::kRowDwords} * rows * 4;
  for (std::int64_t k = 0; k < steps * Format::kSubGroups * Format::kGroup; k += Format::kGroup) {
    const std::int64_t left = K - k;
    if (left >= Format::kGroup) {
      pack_group_avx2<Format>(x + k, rows, out);
    } else if (left > 0 || Format::kSubGroups == 1) {
      float edge[Format::kGroup] = {};
      if (left > 0) std::memcpy(edge, x + k, static_cast<std::size_t>(left) * sizeof(float));
      pack_group_avx2<Format>(edge, rows, out);
    } else {
      std::memcpy(out + std::int64_t{Format::kGroup} * rows, &kScaleBeyondK, 4);
    }
    out += group_bytes;
  }
}

}  // namespace pareto

#pragma GCC pop_options
