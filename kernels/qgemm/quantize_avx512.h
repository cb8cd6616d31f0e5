// Dynamic quantization of rows of x with AVX-512, to the codes of reference/quantize.h exactly.
//
// Without divisions: q = rint(x · fp32(1/s)) is off by at most one, and r = x − q·s, exact in fp32,
// says which way; a tie goes to even.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/vector_avx512.h"
#include "reference/quantize.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

/// Smallest and largest of 0 and the row.
struct RowRange {
  float lo = 0;
  float hi = 0;
};
inline RowRange range_avx512(const float* x, std::int64_t count) {
  __m512 lo = _mm512_setzero_ps();
  __m512 hi = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < count; k += 16) {
    const __m512 v = _mm512_maskz_loadu_ps(first_lanes(count - k), x + k);
    lo = _mm512_min_ps(lo, v);
    hi = _mm512_max_ps(hi, v);
  }
  return {_mm512_reduce_min_ps(lo), _mm512_reduce_max_ps(hi)};
}

inline float amax_avx512(const float* x, std::int64_t count) {
  const RowRange range = range_avx512(x, count);
  return range.hi > -range.lo ? range.hi : -range.lo;
}

/// True where the reciprocal of the scale is an ordinary number; the portable functions take the
/// rest (scales below 2^-126 and 0).
inline bool has_reciprocal(float scale) { return scale >= 0x1p-126F; }

/// rint(x/s), quotient as if in fp64, for |x/s| up to `limit`; beyond it some value beyond it.
inline __m512 quotient_avx512(__m512 x, __m512 s, __m512 reciprocal, float limit) {
  __m512 q = _mm512_mul_ps(x, reciprocal);
  q = _mm512_min_ps(_mm512_max_ps(q, _mm512_set1_ps(-limit - 1)), _mm512_set1_ps(limit + 1));
  q = Avx512F32::round(q);
  const __m512 r = _mm512_fnmadd_ps(q, s, x);
  const __m512 twice = _mm512_add_ps(_mm512_abs_ps(r), _mm512_abs_ps(r));
  const __mmask16 odd = _mm512_test_epi32_mask(_mm512_cvtps_epi32(q), _mm512_set1_epi32(1));
  const __mmask16 off =
      _mm512_cmp_ps_mask(twice, s, _CMP_GT_OQ) | (_mm512_cmp_ps_mask(twice, s, _CMP_EQ_OQ) & odd);
  return _mm512_mask_add_ps(q, off, q, Avx512F32::copysign(_mm512_set1_ps(1), r));
}

/// q[k] = clip(rint(x[k]/scale), ±127); returns Σ q.
inline std::int32_t quantize_s8_avx512(const float* x, std::int64_t count, float scale,
                                       std::int8_t* q) {
  __m512i sum = _mm512_setzero_si512();
  const bool ordinary = has_reciprocal(scale);
  if (!ordinary) {
    quantize_s8({x, static_cast<std::size_t>(count)}, scale, {q});
  }
  const __m512 s = _mm512_set1_ps(scale);
  const __m512 reciprocal = _mm512_set1_ps(1 / scale);
  for (std::int64_t k = 0; k < count; k += 16) {
    const __mmask16 lanes = first_lanes(count - k);
    __m512i code;
    if (ordinary) {
      const __m512 v = _mm512_maskz_loadu_ps(lanes, x + k);
      code = _mm512_cvtps_epi32(quotient_avx512(v, s, reciprocal, 127));
      code =
          _mm512_min_epi32(_mm512_max_epi32(code, _mm512_set1_epi32(-127)), _mm512_set1_epi32(127));
      _mm_mask_storeu_epi8(q + k, lanes, _mm512_cvtepi32_epi8(code));
    } else {
      code = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, q + k));
    }
    sum = _mm512_add_epi32(sum, code);
  }
  return _mm512_reduce_add_epi32(sum);
}

/// One row as u8 with zero point (scheme w8a8_asym), codes less 128; its zero point less 128 too.
inline AffineScale quantize_u8_avx512(const float* x, std::int64_t count, std::int8_t* q,
                                      std::int32_t& sum) {
  const RowRange range = range_avx512(x, count);
  AffineScale affine;
  if (range.hi > range.lo) {
    affine.scale = static_cast<float>((double{range.hi} - double{range.lo}) / 255);
  }
  const bool ordinary = has_reciprocal(affine.scale);
  if (ordinary) {
    affine.zero =
        static_cast<std::int32_t>(std::nearbyint(-double{range.lo} / double{affine.scale}));
    affine.zero = affine.zero > 255 ? 255 : affine.zero;
  } else {
    affine =
        quantize_row_u8({x, static_cast<std::size_t>(count)}, reinterpret_cast<std::uint8_t*>(q));
  }
  const __m512 s = _mm512_set1_ps(affine.scale);
  const __m512 reciprocal = _mm512_set1_ps(1 / affine.scale);
  __m512i total = _mm512_setzero_si512();
  for (std::int64_t k = 0; k < count; k += 16) {
    const __mmask16 lanes = first_lanes(count - k);
    __m512i code = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, q + k));
    if (ordinary) {
      const __m512 v = _mm512_maskz_loadu_ps(lanes, x + k);
      code = _mm512_cvtps_epi32(quotient_avx512(v, s, reciprocal, 511));
      code = _mm512_add_epi32(code, _mm512_set1_epi32(affine.zero));
      code =
          _mm512_min_epi32(_mm512_max_epi32(code, _mm512_setzero_si512()), _mm512_set1_epi32(255));
    }
    code = _mm512_maskz_sub_epi32(lanes, code, _mm512_set1_epi32(128));
    _mm_mask_storeu_epi8(q + k, lanes, _mm512_cvtepi32_epi8(code));
    total = _mm512_add_epi32(total, code);
  }
  sum = _mm512_reduce_add_epi32(total);
  affine.zero -= 128;
  return affine;
}

/// v rounded to a format of `mantissa_bits` whose smallest normal is 2^min_exponent, saturating.
inline __m512d round_to_format_avx512(__m512d v, int mantissa_bits, int min_exponent,
                                      double max_finite) {
  v = _mm512_min_pd(_mm512_max_pd(v, _mm512_set1_pd(-max_finite)), _mm512_set1_pd(max_finite));
  const __m512d exponent = _mm512_max_pd(_mm512_getexp_pd(v), _mm512_set1_pd(min_exponent));
  const __m512d units = _mm512_sub_pd(_mm512_set1_pd(mantissa_bits), exponent);
  const __m512d rounded = _mm512_roundscale_pd(_mm512_scalef_pd(v, units),
                                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm512_scalef_pd(rounded, _mm512_sub_pd(_mm512_setzero_pd(), units));
}

/// values[k] = E4M3 or E5M2 nearest to x[k]/scale, as fp32; quotients in fp64. 0 where scale is 0.
inline void fp8_values_avx512(const float* x, std::int64_t count, double scale, DType fp8,
                              float* values) {
  const bool e5m2 = fp8 == DType::kE5m2;
  const int mantissa_bits = e5m2 ? 2 : 3;
  const int min_exponent = e5m2 ? -14 : -6;
  const double max_finite = e5m2 ? 57344 : 448;
  const __m512d divisor = _mm512_set1_pd(scale);
  for (std::int64_t k = 0; k < count; k += 8) {
    const auto lanes = static_cast<__mmask8>(first_lanes(count - k < 8 ? count - k : 8));
    const __m512d v = _mm512_cvtps_pd(_mm256_maskz_loadu_ps(lanes, x + k));
    const __m512d q =
        round_to_format_avx512(_mm512_maskz_div_pd(scale == 0 ? 0 : lanes, v, divisor),
                               mantissa_bits, min_exponent, max_finite);
    _mm256_mask_storeu_ps(values + k, lanes, _mm512_cvtpd_ps(q));
  }
}

}  // namespace pareto

#pragma GCC pop_options
