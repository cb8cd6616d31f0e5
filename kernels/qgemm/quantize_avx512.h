// Dynamic quantization of rows of x with AVX-512, to the codes of reference/quantize.h exactly.
//
// Without divisions: x · fp32(1/s) is rounded; where it is so near the middle of two codes that its
// own error could have moved it across, in one of 120 groups of 64 values, the group is divided in
// fp64.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "harness/tensor.h"
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

/// The larger (or smaller) of two magnitudes; the smaller one keeps a's sign.
inline __m512 larger_magnitude_avx512(__m512 a, __m512 b) { return _mm512_range_ps(a, b, 0b1011); }
inline __m512 smaller_magnitude_avx512(__m512 a, __m512 b) { return _mm512_range_ps(a, b, 0b0010); }

inline float amax_avx512(const float* x, std::int64_t count) {
  __m512 largest[4] = {};  // four chains hide the latency of the comparison
  std::int64_t k = 0;
  for (; k + 64 <= count; k += 64) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      largest[i] = larger_magnitude_avx512(largest[i], _mm512_loadu_ps(x + k + i * 16));
    }
  }
  for (; k < count; k += 16) {
    const __m512 v = _mm512_maskz_loadu_ps(first_lanes(count - k), x + k);
    largest[0] = larger_magnitude_avx512(largest[0], v);
  }
  return _mm512_reduce_max_ps(
      _mm512_max_ps(_mm512_max_ps(largest[0], largest[1]), _mm512_max_ps(largest[2], largest[3])));
}

/// rint(x/s) clipped to ±512, quotients in fp64; 0 where s is 0.
inline __m512i exact_quotients_avx512(__m512 x, double s) {
  const __m512d divisor = _mm512_set1_pd(s);
  const __mmask8 lanes = s == 0 ? 0 : 0xff;
  __m256i half[2];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m256 part = i == 0 ? _mm512_castps512_ps256(x) : _mm512_extractf32x8_ps(x, 1);
    __m512d q = _mm512_maskz_div_pd(lanes, _mm512_cvtps_pd(part), divisor);
    q = _mm512_min_pd(_mm512_max_pd(q, _mm512_set1_pd(-512)), _mm512_set1_pd(512));
    half[i] = _mm512_cvtpd_epi32(q);
  }
  return _mm512_inserti64x4(_mm512_castsi256_si512(half[0]), half[1], 1);
}

/// A scale and what multiplies in its stead.
struct Divisor {
  /// The reciprocal of scales below 2^-126 (and of 0) is no ordinary number: all are then divided.
  explicit Divisor(float s)
      : scale(s), ordinary(s >= 0x1p-126F), reciprocal(_mm512_set1_ps(ordinary ? 1 / s : 0)) {}
  float scale;
  bool ordinary;
  __m512 reciprocal;
};

/// rint(x/s) of `count` (up to 64) values as int16, zeros after them, clipped to ±512 if asked;
/// without that |x/s| is at most 256. Dword 4l + j of both words together holds the values
/// 16j + 4l and the next: the order of packs.
struct Quotients64 {
  __m512i word[2];
};
template <bool kClip>
inline Quotients64 quotients_avx512(const float* x, std::int64_t count, const Divisor& divisor) {
  // |x/s| ≤ 256 times a reciprocal is off by 2^-15 at most.
  constexpr float kDoubt = 0.5F - 0x1p-14F;
  __m512 v[4];
  __m512i q[4];
  __m512 worst = _mm512_setzero_ps();
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    v[i] = count >= 64 ? _mm512_loadu_ps(x + i * 16)
                       : _mm512_maskz_loadu_ps(first_lanes(count - i * 16), x + i * 16);
    __m512 t = _mm512_mul_ps(v[i], divisor.reciprocal);
    if constexpr (kClip) t = smaller_magnitude_avx512(t, _mm512_set1_ps(512));
    q[i] = _mm512_cvtps_epi32(t);
    worst = larger_magnitude_avx512(worst, _mm512_sub_ps(t, _mm512_cvtepi32_ps(q[i])));
  }
  const __mmask16 doubtful = _mm512_cmp_ps_mask(worst, _mm512_set1_ps(kDoubt), _CMP_GT_OQ);
  if (__builtin_expect(static_cast<int>(doubtful != 0 || !divisor.ordinary), 0) != 0) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) q[i] = exact_quotients_avx512(v[i], divisor.scale);
  }
  return {{_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3])}};
}

/// 64 bytes from both halves, saturating, in order.
inline __m512i pack_bytes_avx512(const Quotients64& q) {
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(q.word[0], q.word[1]));
}

/// The lowest `count` of 64 lanes.
inline __mmask64 first_bytes(std::int64_t count) {
  return count >= 64 ? ~0ULL : (1ULL << count) - 1ULL;
}

/// Σ of signed bytes, in eight parts of 64 bits.
inline __m512i byte_sums_avx512(__m512i bytes) {
  const __m512i raised =
      _mm512_sad_epu8(_mm512_xor_si512(bytes, _mm512_set1_epi8(-128)), _mm512_setzero_si512());
  return _mm512_sub_epi64(raised, _mm512_set1_epi64(8 * 128));
}

/// q[k] = clip(rint(x[k]/scale), ±127), every 64 codes `stride` bytes after the 64 before; bytes
/// beyond `count` are left alone. Returns Σ q. Without kClip |x[k]| is at most 127·scale.
template <bool kClip = false>
inline std::int32_t quantize_s8_avx512(const float* x, std::int64_t count, float scale,
                                       std::int8_t* q, std::int64_t stride = 64) {
  const Divisor divisor(scale);
  __m512i sum = _mm512_setzero_si512();
  for (std::int64_t k = 0; k < count; k += 64, q += stride) {
    const __m512i codes =
        _mm512_max_epi8(pack_bytes_avx512(quotients_avx512<kClip>(x + k, count - k, divisor)),
                        _mm512_set1_epi8(-127));
    _mm512_mask_storeu_epi8(q, first_bytes(count - k), codes);
    sum = _mm512_add_epi64(sum, byte_sums_avx512(codes));
  }
  return static_cast<std::int32_t>(_mm512_reduce_add_epi64(sum));
}

/// Scale and zero point of one row in scheme w8a8_asym.
inline AffineScale affine_scale_avx512(const float* x, std::int64_t count) {
  const RowRange range = range_avx512(x, count);
  AffineScale affine;
  if (range.hi > range.lo) {
    affine.scale = static_cast<float>((double{range.hi} - double{range.lo}) / 255);
  }
  if (affine.scale > 0) {
    const double zero = std::nearbyint(-double{range.lo} / double{affine.scale});
    affine.zero = static_cast<std::int32_t>(zero > 255 ? 255 : zero);
  }
  return affine;
}

/// q[k] = clip(rint(x[k]/scale) + zero, 0, 255) − 128, laid out as above; returns Σ q.
inline std::int32_t quantize_u8_avx512(const float* x, std::int64_t count,
                                       const AffineScale& affine, std::int8_t* q,
                                       std::int64_t stride) {
  const Divisor divisor(affine.scale);
  const __m512i zero = _mm512_set1_epi16(static_cast<std::int16_t>(affine.zero - 128));
  __m512i sum = _mm512_setzero_si512();
  for (std::int64_t k = 0; k < count; k += 64, q += stride) {
    Quotients64 codes = quotients_avx512<false>(x + k, count - k, divisor);
    for (__m512i& word : codes.word) word = _mm512_add_epi16(word, zero);
    const __m512i bytes = _mm512_maskz_mov_epi8(first_bytes(count - k), pack_bytes_avx512(codes));
    _mm512_mask_storeu_epi8(q, first_bytes(count - k), bytes);
    sum = _mm512_add_epi64(sum, byte_sums_avx512(bytes));
  }
  return static_cast<std::int32_t>(_mm512_reduce_add_epi64(sum));
}

/// Codes given as s8 or u8, as s8 (u8 less 128), laid out as above; returns their sum.
inline std::int32_t copy_codes_avx512(const Tensor& x, std::int64_t begin, std::int64_t count,
                                      std::int8_t* q, std::int64_t stride) {
  const __m512i flip = _mm512_set1_epi8(x.dtype == DType::kU8 ? -128 : 0);
  __m512i sum = _mm512_setzero_si512();
  for (std::int64_t k = 0; k < count; k += 64, q += stride) {
    const __mmask64 used = first_bytes(count - k);
    const __m512i codes = _mm512_xor_si512(_mm512_maskz_loadu_epi8(used, x.data + begin + k), flip);
    const __m512i kept = _mm512_maskz_mov_epi8(used, codes);
    _mm512_mask_storeu_epi8(q, used, kept);
    sum = _mm512_add_epi64(sum, byte_sums_avx512(kept));
  }
  return static_cast<std::int32_t>(_mm512_reduce_add_epi64(sum));
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
