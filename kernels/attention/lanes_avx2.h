// What blocked attention needs of AVX2: masks of lanes, sums over lanes, 2^⌊x⌋, and operands of
// every type decoded.
//
// Included inside a `#pragma GCC target` region.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/attention/kv_rows.h"
#include "kernels/attention/register_tiles.h"
#include "kernels/vector_avx2.h"

namespace pareto {

/// For exp2_vector: below −126 the result is 0, above 127 there is none.
struct AttentionAvx2F32 : Avx2F32 {
  static Reg clamped(Reg x) { return min(set1(127.0F), max(set1(-127.0F), x)); }
  static Reg floor_rest(Reg x) {
    const Reg whole = clamped(x);
    return sub(whole, _mm256_floor_ps(whole));
  }
  static Reg scale_floor(Reg a, Reg x) {
    const __m256i n = _mm256_cvtps_epi32(_mm256_floor_ps(clamped(x)));
    return mul(
        a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)));
  }
};

/// 8 elements of fp32, bf16, fp16, E4M3 or s8. E4M3 shifted by 7 bits is the fp16 number 2^-8 times
/// as large, subnormals included.
inline __m256 load_codes_avx2(const std::byte* p, DType dtype) {
  if (dtype != DType::kS8 && dtype != DType::kE4m3) return load_float_avx2(p, dtype);
  const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  if (dtype == DType::kS8) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
  const __m128i wide = _mm_slli_epi16(_mm_cvtepu8_epi16(codes), 7);
  const __m128i sign = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x4000)), 1);
  const __m128i rest = _mm_and_si128(wide, _mm_set1_epi16(0x3fff));
  return _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(sign, rest)), _mm256_set1_ps(256.0F));
}

/// The same from element i on, of which only `count` are there; the others are 0 and not read.
inline __m256 load_codes_avx2(const std::byte* data, DType dtype, std::int64_t bytes,
                              std::int64_t i, std::int64_t count) {
  if (count >= 8) return load_codes_avx2(data + i * bytes, dtype);
  alignas(32) std::byte edge[32] = {};
  if (count > 0) std::memcpy(edge, data + i * bytes, static_cast<std::size_t>(count * bytes));
  return load_codes_avx2(edge, dtype);
}

struct AttentionLanesAvx2 {
  using V = AttentionAvx2F32;
  using Reg = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kColumns = 2;
  static constexpr int kPanel = 16;
  static constexpr int kRows = 6;
  static constexpr int kShortPanels = 4;  ///< of keys, in short_attention.h

  static Reg load(const std::uint32_t* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
  static Reg load_floats(const float* p) { return _mm256_loadu_ps(p); }
  static void store_floats(float* p, Reg x) { _mm256_storeu_ps(p, x); }
  static Reg broadcast(const std::uint32_t* p) {
    return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(*p)));
  }
  /// Lanes l with lo ≤ j + l < hi.
  static __m256 lanes_between(std::int64_t j, std::int64_t lo, std::int64_t hi) {
    return few_lanes_between(0, std::clamp<std::int64_t>(lo - j, 0, kLanes),
                             std::clamp<std::int64_t>(hi - j, 0, kLanes));
  }
  /// The same for small numbers, without clamping.
  static __m256 few_lanes_between(std::int64_t j, std::int64_t lo, std::int64_t hi) {
    const __m256i key = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(j)), lane_numbers());
    return _mm256_castsi256_ps(
        _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(lo)), key),
                            _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(hi)), key)));
  }
  /// Those lanes of the mask whose byte is not 0.
  static __m256 allowed_lanes(__m256 mask, const std::uint8_t* p, std::int64_t stride) {
    const int wanted = _mm256_movemask_ps(mask);
    alignas(32) std::int32_t lanes[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = (wanted >> lane & 1) != 0 && p[lane * stride] != 0 ? -1 : 0;
    }
    return _mm256_castsi256_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(lanes)));
  }
  static Reg load_lanes(__m256 mask, const float* p, std::int64_t stride) {
    return stride == 0 ? _mm256_set1_ps(*p) : _mm256_maskload_ps(p, _mm256_castps_si256(mask));
  }
  static Reg select(__m256 mask, Reg a, Reg b) { return _mm256_blendv_ps(b, a, mask); }
  static Reg iota() { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }
  static float reduce_max(Reg x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
  static float reduce_add(Reg x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static float first(Reg x) { return _mm256_cvtss_f32(x); }
  /// Natural logarithm of normal numbers > 0, 0, ∞ and NaN; the error is below 2^-22 of it or of
  /// 1/16.
  static Reg log(Reg x) {
    const Reg one = _mm256_set1_ps(1.0F);
    // x = m·2^e with m in [3/4, 3/2); log m = 2·artanh z, a series in z² ≤ 1/25.
    const __m256i from_low = _mm256_sub_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(kLowBits));
    const __m256i exponent = _mm256_srai_epi32(from_low, 23);
    const Reg m = _mm256_castsi256_ps(
        _mm256_sub_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(exponent, 23)));
    const Reg z = _mm256_div_ps(_mm256_sub_ps(m, one), _mm256_add_ps(m, one));
    const Reg square = _mm256_mul_ps(z, z);
    Reg series = _mm256_set1_ps(2.0F / 9);
    series = _mm256_fmadd_ps(series, square, _mm256_set1_ps(2.0F / 7));
    series = _mm256_fmadd_ps(series, square, _mm256_set1_ps(2.0F / 5));
    series = _mm256_fmadd_ps(series, square, _mm256_set1_ps(2.0F / 3));
    series = _mm256_fmadd_ps(_mm256_mul_ps(series, square), z, _mm256_add_ps(z, z));
    const Reg log =
        _mm256_fmadd_ps(_mm256_cvtepi32_ps(exponent), _mm256_set1_ps(0x1.62e43p-1F), series);
    const Reg infinity = _mm256_set1_ps(std::numeric_limits<float>::infinity());
    const Reg is_zero = _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ);
    const Reg finite = select(is_zero, V::sub(_mm256_setzero_ps(), infinity), log);
    return select(_mm256_cmp_ps(x, infinity, _CMP_NLT_UQ), x, finite);
  }

  /// Lane l is lane (8 / N)·part + l / N of x.
  template <int N>
  static Reg spread(Reg x, int part) {
    if constexpr (N == 1) return x;
    const __m256i from = _mm256_add_epi32(_mm256_srli_epi32(lane_numbers(), N / 2),
                                          _mm256_set1_epi32(kLanes / N * part));
    return _mm256_permutevar8x32_ps(x, from);
  }
  /// Lane l < N: the sum of lanes l, l + N, …
  template <int N>
  static Reg sum_spread(Reg x) {
    static_assert(N == 1 || N == 2 || N == 4);
    x = _mm256_add_ps(x, _mm256_permute2f128_ps(x, x, 0x01));
    if constexpr (N <= 2) x = _mm256_add_ps(x, _mm256_permute_ps(x, 0x4e));
    if constexpr (N == 1) x = _mm256_add_ps(x, _mm256_permute_ps(x, 0xb1));
    return x;
  }

  /// `count` elements from element i of a row of o, times `factor`, rounded once to o's type.
  static void store_row(const Tensor& o, std::int64_t i, std::int64_t count, const float* from,
                        float factor) {
    const auto bytes = static_cast<std::int64_t>(size_of(o.dtype));
    for (std::int64_t c = 0; c < count; c += kLanes) {
      const Reg x = _mm256_mul_ps(_mm256_loadu_ps(from + c), _mm256_set1_ps(factor));
      std::byte* to = o.data + (i + c) * bytes;
      if (count - c >= kLanes) {
        store_float_avx2(to, o.dtype, x);
      } else {
        alignas(32) std::byte edge[32];
        store_float_avx2(edge, o.dtype, x);
        std::memcpy(to, edge, static_cast<std::size_t>((count - c) * bytes));
      }
    }
  }
  static bool any_non_finite(Reg x) {
    const Reg infinity = _mm256_set1_ps(std::numeric_limits<float>::infinity());
    return _mm256_movemask_ps(_mm256_cmp_ps(V::abs(x), infinity, _CMP_NLT_UQ)) != 0;
  }

 private:
  static __m256i lane_numbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

  static constexpr int kLowBits = 0x3f400000;  ///< of 3/4
};

}  // namespace pareto
