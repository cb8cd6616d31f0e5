// What blocked attention needs of AVX-512: masks of lanes, sums over lanes, 2^⌊x⌋, and operands of
// every type decoded.
//
// Included inside a `#pragma GCC target` region.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "kernels/attention/kv_rows.h"
#include "kernels/attention/register_tiles.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/vector_avx512.h"

namespace pareto {

struct AttentionAvx512F32 : Avx512F32 {
  static Reg floor_rest(Reg x) {
    return _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  }
  static Reg scale_floor(Reg a, Reg x) { return _mm512_scalef_ps(a, x); }
};

/// E4M3 shifted by 7 bits is the fp16 number 2^-8 times as large, subnormals included.
inline __m512 from_e4m3_avx512(__m128i codes) {
  const __m256i wide = _mm256_slli_epi16(_mm256_cvtepu8_epi16(codes), 7);
  const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x4000)), 1);
  const __m256i rest = _mm256_and_si256(wide, _mm256_set1_epi16(0x3fff));
  return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(sign, rest)), _mm512_set1_ps(256.0F));
}

/// 16 elements from element i of fp32, bf16, fp16, E4M3 or s8; lanes outside the mask are 0 and not
/// read.
inline __m512 load_codes_avx512(const std::byte* data, DType dtype, std::int64_t i,
                                __mmask16 lanes) {
  if (dtype != DType::kS8 && dtype != DType::kE4m3) return load_float_avx512(data, dtype, i, lanes);
  const __m128i codes = _mm_maskz_loadu_epi8(lanes, data + i);
  if (dtype == DType::kE4m3) return from_e4m3_avx512(codes);
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
}

/// How far ahead of its use a stored cache is fetched.
inline constexpr int kCacheAheadBytes = 4096;

/// Lanes of masks, floats and scores; shared by the policies of fp32 and bf16 products.
struct AttentionLanesAvx512 {
  using V = AttentionAvx512F32;
  using Reg = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kColumns = 4;
  static constexpr int kPanel = 64;
  static constexpr int kRows = 6;
  static constexpr int kShortPanels = 1;  ///< of keys, in short_attention.h

  static Reg load(const std::uint32_t* p) { return _mm512_loadu_ps(p); }
  static Reg load_floats(const float* p) { return _mm512_loadu_ps(p); }
  static void store_floats(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  static Reg broadcast(const std::uint32_t* p) {
    return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(*p)));
  }
  /// Lanes l with lo ≤ j + l < hi.
  static __mmask16 lanes_between(std::int64_t j, std::int64_t lo, std::int64_t hi) {
    return static_cast<__mmask16>(first_lanes(hi - j) & ~first_lanes(lo - j));
  }
  /// The same for small numbers.
  static __mmask16 few_lanes_between(std::int64_t j, std::int64_t lo, std::int64_t hi) {
    return lanes_between(j, lo, hi);
  }
  /// Those lanes of the mask whose byte is not 0.
  static __mmask16 allowed_lanes(__mmask16 mask, const std::uint8_t* p, std::int64_t stride) {
    if (stride == 0) return *p != 0 ? mask : __mmask16{0};
    const __m128i bytes = _mm_maskz_loadu_epi8(mask, p);
    return _mm_mask_test_epi8_mask(mask, bytes, bytes);
  }
  static Reg load_lanes(__mmask16 mask, const float* p, std::int64_t stride) {
    return stride == 0 ? _mm512_set1_ps(*p) : _mm512_maskz_loadu_ps(mask, p);
  }
  static Reg select(__mmask16 mask, Reg a, Reg b) { return _mm512_mask_blend_ps(mask, b, a); }
  static Reg iota() { return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
  static float reduce_max(Reg x) { return _mm512_reduce_max_ps(x); }
  static float reduce_add(Reg x) { return _mm512_reduce_add_ps(x); }
  static float first(Reg x) { return _mm512_cvtss_f32(x); }
  /// Natural logarithm of numbers ≥ 0 and NaN; the error is below 2^-22 of it or of 1/16.
  static Reg log(Reg x) {
    const Reg one = _mm512_set1_ps(1.0F);
    // x = m·2^e with m in [3/4, 3/2); log m = 2·artanh z, a series in z² ≤ 1/25.
    const Reg m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
    const Reg e = _mm512_getexp_ps(_mm512_div_ps(x, m));
    const Reg z = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one));
    const Reg square = _mm512_mul_ps(z, z);
    Reg series = _mm512_set1_ps(2.0F / 9);
    series = _mm512_fmadd_ps(series, square, _mm512_set1_ps(2.0F / 7));
    series = _mm512_fmadd_ps(series, square, _mm512_set1_ps(2.0F / 5));
    series = _mm512_fmadd_ps(series, square, _mm512_set1_ps(2.0F / 3));
    series = _mm512_fmadd_ps(_mm512_mul_ps(series, square), z, _mm512_add_ps(z, z));
    return _mm512_fmadd_ps(e, _mm512_set1_ps(0x1.62e43p-1F), series);
  }

  /// Lane l is lane (16 / N)·part + l / N of x.
  template <int N>
  static Reg spread(Reg x, int part) {
    if constexpr (N == 1) return x;
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i from =
        _mm512_add_epi32(_mm512_srli_epi32(lane, N / 2), _mm512_set1_epi32(kLanes / N * part));
    return _mm512_permutexvar_ps(from, x);
  }
  /// Lane l < N: the sum of lanes l, l + N, …
  template <int N>
  static Reg sum_spread(Reg x) {
    static_assert(N == 1 || N == 2 || N == 4);
    x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0x4e));
    x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0xb1));
    if constexpr (N <= 2) x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4e));
    if constexpr (N == 1) x = _mm512_add_ps(x, _mm512_permute_ps(x, 0xb1));
    return x;
  }

  /// `count` elements from element i of a row of o, times `factor`, rounded once to o's type.
  static void store_row(const Tensor& o, std::int64_t i, std::int64_t count, const float* from,
                        float factor) {
    for (std::int64_t c = 0; c < count; c += kLanes) {
      const Reg x = _mm512_mul_ps(_mm512_loadu_ps(from + c), _mm512_set1_ps(factor));
      store_float_avx512(o.data, o.dtype, i + c, first_lanes(count - c), x);
    }
  }
  static bool any_non_finite(Reg x) {
    constexpr int kNanOrInfinity = 0x99;  // quiet and signalling NaN, ±∞
    return _mm512_fpclass_ps_mask(x, kNanOrInfinity) != 0;
  }
};

/// K's panel [steps][stride] from the rows of `keys`, a panel's keys or fewer; `load(element,
/// step)` gives 16 dwords of a row from a step on. Of the other keys the first stand as zeros, to a
/// whole register.
template <typename Load>
inline void pack_k_panel_avx512(const KvRows& rows, const KeyRange& keys, std::int64_t steps,
                                std::int64_t stride, const Load& load, std::uint32_t* panel) {
  for (std::int64_t at = 0; at < keys.size(); at += 16) {
    const std::int64_t count = std::min<std::int64_t>(keys.size() - at, 16);
    std::int64_t element[16];
    for (std::int64_t i = 0; i < count; ++i) element[i] = rows.element(keys.lo + at + i);
    for (std::int64_t step = 0; step < steps; step += 16) {
      __m512i block[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        block[i] = i < count ? load(element[i], step) : _mm512_setzero_si512();
      }
      transpose_dwords_avx512(block);
      const std::int64_t left = std::min<std::int64_t>(16, steps - step);
      for (std::int64_t i = 0; i < left; ++i) {
        _mm512_storeu_si512(panel + (step + i) * stride + at, block[i]);
      }
    }
  }
}

}  // namespace pareto
