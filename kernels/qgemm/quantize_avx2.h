// Dynamic quantization of rows of x with AVX2, to the codes of reference/quantize.h exactly: as
// quantize_avx512.h, but that doubtful groups of integers are divided one value at a time.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "harness/tensor.h"
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

/// Largest magnitude, 0 of nothing.
inline float amax_avx2(const float* x, std::int64_t count) {
  const __m256 sign = _mm256_set1_ps(-0.0F);
  __m256 most[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  std::int64_t k = 0;
  for (; k + kUnit <= count; k += kUnit) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      most[i] = _mm256_max_ps(most[i], _mm256_andnot_ps(sign, _mm256_loadu_ps(x + k + i * 8)));
    }
  }
  for (; k < count; k += 8) {
    const __m256i lanes = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count - k)),
                                             _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    most[0] = _mm256_max_ps(most[0], _mm256_andnot_ps(sign, _mm256_maskload_ps(x + k, lanes)));
  }
  most[0] = _mm256_max_ps(most[0], most[1]);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(most[0]), _mm256_extractf128_ps(most[0], 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
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
[[gnu::noinline]] inline __m256i exact_quotients_avx2(const float* x, double s) {
  std::int16_t q[kUnit];
  for (int i = 0; i < kUnit; ++i) {
    q[i] = s == 0 ? std::int16_t{0}
                  : static_cast<std::int16_t>(std::nearbyint(std::clamp(x[i] / s, -512.0, 512.0)));
  }
  __m256i words;
  std::memcpy(&words, q, sizeof(words));
  return words;
}

/// 16 codes at a time with what a row has in common, so that none of it is made anew for them.
class UnitQuantizerAvx2 {
 public:
  explicit UnitQuantizerAvx2(const CodeRange& range)
      : scale_(range.scale),
        ordinary_(range.scale >= 0x1p-126F),
        reciprocal_(_mm256_set1_ps(ordinary_ ? 1 / range.scale : 0)),
        zero_(_mm256_set1_epi16(static_cast<std::int16_t>(range.zero))),
        lo_(_mm256_set1_epi16(static_cast<std::int16_t>(range.lo))),
        hi_(_mm256_set1_epi16(static_cast<std::int16_t>(range.hi))) {}

  __m256i operator()(const float* x) const {
    constexpr float kDoubt = 0.5F - 0x1p-14F;
    const __m256 sign = _mm256_set1_ps(-0.0F);
    __m256i q[2];
    __m256 worst = _mm256_setzero_ps();
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      __m256 t = _mm256_mul_ps(_mm256_loadu_ps(x + i * 8), reciprocal_);
      t = _mm256_min_ps(_mm256_max_ps(t, _mm256_set1_ps(-512)), _mm256_set1_ps(512));
      q[i] = _mm256_cvtps_epi32(t);
      const __m256 rest = _mm256_sub_ps(t, _mm256_cvtepi32_ps(q[i]));
      worst = _mm256_max_ps(worst, _mm256_andnot_ps(sign, rest));
    }
    // Both halves of packs come lane by lane.
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[0], q[1]), 0xd8);
    const __m256 doubtful = _mm256_cmp_ps(worst, _mm256_set1_ps(kDoubt), _CMP_GT_OQ);
    if (_mm256_movemask_ps(doubtful) != 0 || !ordinary_) words = exact_quotients_avx2(x, scale_);
    words = _mm256_add_epi16(words, zero_);
    return _mm256_min_epi16(_mm256_max_epi16(words, lo_), hi_);
  }

 private:
  float scale_;
  bool ordinary_;
  __m256 reciprocal_;
  __m256i zero_;
  __m256i lo_;
  __m256i hi_;
};

/// s16 codes of one row. A last unit overlaps the one before.
inline void quantize_row_avx2(const float* x, std::int64_t count, const CodeRange& range,
                              std::int16_t* codes) {
  const UnitQuantizerAvx2 quantize(range);
  const auto quantize_at = [&](std::int64_t k) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + k), quantize(x + k));
  };
  for (std::int64_t k = 0; k + kUnit <= count; k += kUnit) quantize_at(k);
  if (count % kUnit == 0) return;
  if (count > kUnit) {
    quantize_at(count - kUnit);
    return;
  }
  float edge[kUnit] = {};
  std::memcpy(edge, x, static_cast<std::size_t>(count) * sizeof(float));
  const __m256i words = quantize(edge);
  std::memcpy(codes, &words, static_cast<std::size_t>(count) * sizeof(std::int16_t));
}

/// |v| rounded to the nearest of a format whose smallest normal is `least_normal`, saturating. The
/// sum with 2^(52 − mantissa bits) times the power of two below |v| leaves that many bits.
inline __m256d round_to_format_avx2(__m256d magnitude, int mantissa_bits, double least_normal,
                                    double max_finite) {
  const __m256d power = _mm256_max_pd(
      _mm256_and_pd(magnitude, _mm256_set1_pd(std::numeric_limits<double>::infinity())),
      _mm256_set1_pd(least_normal));
  const __m256i shift = _mm256_set1_epi64x(std::int64_t{52 - mantissa_bits} << 52);
  const __m256d ruler = _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(power), shift));
  const __m256d rounded = _mm256_sub_pd(_mm256_add_pd(magnitude, ruler), ruler);
  return _mm256_min_pd(rounded, _mm256_set1_pd(max_finite));
}

/// (E4M3 or E5M2 nearest to x/scale) · factor of 4 values; quotients in fp64, the product in fp32.
inline __m128 fp8_quarter_avx2(__m128 x, double scale, DType fp8, float factor) {
  const bool e5m2 = fp8 == DType::kE5m2;
  const __m256d sign = _mm256_set1_pd(-0.0);
  const __m256d quotient = _mm256_div_pd(_mm256_cvtps_pd(x), _mm256_set1_pd(scale));
  const __m256d rounded = round_to_format_avx2(_mm256_andnot_pd(sign, quotient), e5m2 ? 2 : 3,
                                               e5m2 ? 0x1p-14 : 0x1p-6, e5m2 ? 57344 : 448);
  const __m128 value = _mm256_cvtpd_ps(_mm256_or_pd(rounded, _mm256_and_pd(sign, quotient)));
  return _mm_mul_ps(value, _mm_set1_ps(factor));
}

/// The same of a row. 0 where scale is 0.
inline void fp8_values_avx2(const float* x, std::int64_t count, float scale, DType fp8,
                            float factor, float* values) {
  if (scale == 0) {
    std::fill_n(values, count, 0.0F);
    return;
  }
  std::int64_t k = 0;
  for (; k + 4 <= count; k += 4) {
    _mm_storeu_ps(values + k, fp8_quarter_avx2(_mm_loadu_ps(x + k), scale, fp8, factor));
  }
  float edge[4] = {};
  std::copy(x + k, x + count, edge);
  _mm_storeu_ps(edge, fp8_quarter_avx2(_mm_loadu_ps(edge), scale, fp8, factor));
  std::copy(edge, edge + (count - k), values + k);
}

}  // namespace pareto

#pragma GCC pop_options
