// Dynamic quantization of rows of x with AVX2, to the codes of reference/quantize.h exactly: as
// quantize_avx512.h, but that doubtful groups are divided one value at a time.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "reference/quantize.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

/// Values that are quantized together.
inline constexpr int kUnit = 16;

/// Smallest and largest of 0 and the row.
struct RowRangeAvx2 {
  float lo = 0;
  float hi = 0;
};
inline RowRangeAvx2 range_avx2(const float* x, std::int64_t count) {
  __m256 lo[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  __m256 hi[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  std::int64_t k = 0;
  for (; k + kUnit <= count; k += kUnit) {
    for (int i = 0; i < 2; ++i) {
      const __m256 v = _mm256_loadu_ps(x + k + i * 8);
      lo[i] = _mm256_min_ps(lo[i], v);
      hi[i] = _mm256_max_ps(hi[i], v);
    }
  }
  float lows[8];
  float highs[8];
  _mm256_storeu_ps(lows, _mm256_min_ps(lo[0], lo[1]));
  _mm256_storeu_ps(highs, _mm256_max_ps(hi[0], hi[1]));
  RowRangeAvx2 range;
  for (int i = 0; i < 8; ++i) {
    range.lo = std::min(range.lo, lows[i]);
    range.hi = std::max(range.hi, highs[i]);
  }
  for (; k < count; ++k) {
    range.lo = std::min(range.lo, x[k]);
    range.hi = std::max(range.hi, x[k]);
  }
  return range;
}

inline float amax_avx2(const float* x, std::int64_t count) {
  const RowRangeAvx2 range = range_avx2(x, count);
  return std::max(range.hi, -range.lo);
}

/// Scale and zero point of one row in scheme w8a8_asym.
inline AffineScale affine_scale_avx2(const float* x, std::int64_t count) {
  const RowRangeAvx2 range = range_avx2(x, count);
  AffineScale affine;
  if (range.hi > range.lo) {
    affine.scale = static_cast<float>((double{range.hi} - double{range.lo}) / 255);
  }
  if (affine.scale > 0) {
    const double zero = std::nearbyint(-double{range.lo} / double{affine.scale});
    affine.zero = static_cast<std::int32_t>(std::min(zero, 255.0));
  }
  return affine;
}

/// code = clip(rint(x/scale) + zero, lo, hi)
struct CodeRange {
  float scale = 1;
  std::int32_t zero = 0;
  int lo = -127;
  int hi = 127;
};

/// rint(x/s) of 16 values clipped to ±512, quotients in fp64; 0 where s is 0.
inline __m256i exact_quotients_avx2(const float* x, double s) {
  std::int16_t q[kUnit];
  for (int i = 0; i < kUnit; ++i) {
    q[i] = s == 0 ? std::int16_t{0}
                  : static_cast<std::int16_t>(std::nearbyint(std::clamp(x[i] / s, -512.0, 512.0)));
  }
  __m256i words;
  std::memcpy(&words, q, sizeof(words));
  return words;
}

/// 16 codes.
inline __m256i quantize_unit_avx2(const float* x, const CodeRange& range) {
  constexpr float kDoubt = 0.5F - 0x1p-14F;
  const bool ordinary = range.scale >= 0x1p-126F;
  const __m256 reciprocal = _mm256_set1_ps(ordinary ? 1 / range.scale : 0);
  const __m256 sign = _mm256_set1_ps(-0.0F);
  __m256i q[2];
  __m256 worst = _mm256_setzero_ps();
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    __m256 t = _mm256_mul_ps(_mm256_loadu_ps(x + i * 8), reciprocal);
    t = _mm256_min_ps(_mm256_max_ps(t, _mm256_set1_ps(-512)), _mm256_set1_ps(512));
    q[i] = _mm256_cvtps_epi32(t);
    const __m256 rest = _mm256_sub_ps(t, _mm256_cvtepi32_ps(q[i]));
    worst = _mm256_max_ps(worst, _mm256_andnot_ps(sign, rest));
  }
  // Both halves of packs come lane by lane.
  __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[0], q[1]), 0xd8);
  const __m256 doubtful = _mm256_cmp_ps(worst, _mm256_set1_ps(kDoubt), _CMP_GT_OQ);
  if (_mm256_movemask_ps(doubtful) != 0 || !ordinary) {
    words = exact_quotients_avx2(x, range.scale);
  }
  words = _mm256_add_epi16(words, _mm256_set1_epi16(static_cast<std::int16_t>(range.zero)));
  words = _mm256_max_epi16(words, _mm256_set1_epi16(static_cast<std::int16_t>(range.lo)));
  return _mm256_min_epi16(words, _mm256_set1_epi16(static_cast<std::int16_t>(range.hi)));
}

/// s16 codes of one row.
inline void quantize_row_avx2(const float* x, std::int64_t count, const CodeRange& range,
                              std::int16_t* codes) {
  std::int64_t k = 0;
  for (; k + kUnit <= count; k += kUnit) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + k), quantize_unit_avx2(x + k, range));
  }
  if (k == count) return;
  const auto left = static_cast<std::size_t>(count - k);
  float edge[kUnit] = {};
  std::memcpy(edge, x + k, left * sizeof(float));
  const __m256i words = quantize_unit_avx2(edge, range);
  std::memcpy(codes + k, &words, left * sizeof(std::int16_t));
}

}  // namespace pareto

#pragma GCC pop_options
