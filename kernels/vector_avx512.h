// 16 lanes of fp32 in AVX-512 F/BW/DQ/VL: the operations that headers shared by instruction sets
// are written in, masked access at the edges of operands, and conversions of 16-bit types.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "harness/tensor.h"
#include "reference/activation.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

#include "kernels/activation_vector.h"

namespace pareto {

/// min and max return the second argument if either is NaN.
struct Avx512F32 {
  using Reg = __m512;
  static constexpr int kLanes = 16;
  static Reg set1(float x) { return _mm512_set1_ps(x); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  /// a·b + c
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  /// c − a·b
  static Reg fnma(Reg a, Reg b, Reg c) { return _mm512_fnmadd_ps(a, b, c); }
  /// Nearest integer, ties to even.
  static Reg round(Reg a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// a·2^n, n an integer
  static Reg scale(Reg a, Reg n) { return _mm512_scalef_ps(a, n); }
  static Reg abs(Reg a) { return _mm512_abs_ps(a); }
  static Reg copysign(Reg magnitude, Reg sign) {
    return _mm512_or_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0F)));
  }
  /// x < y ? a : b
  static Reg select_less(Reg x, Reg y, Reg a, Reg b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), b, a);
  }
};

/// The lowest `count` of 16 lanes (all from 16 on, none below 1).
inline __mmask16 first_lanes(std::int64_t count) {
  if (count >= 16) return 0xffff;
  return count <= 0 ? 0 : static_cast<__mmask16>((1U << count) - 1U);
}

/// bf16 of 16 floats, nearest even; NaN stays NaN.
inline __m256i to_bf16_avx512(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
}

inline __m512 from_bf16_avx512(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

/// Up to 16 floats from element `i` of a tensor of fp32, bf16 or fp16; lanes outside the mask are 0
/// and not read.
inline __m512 load_float_avx512(const std::byte* data, DType dtype, std::int64_t i,
                                __mmask16 lanes) {
  if (dtype == DType::kF32) {
    return _mm512_maskz_loadu_ps(lanes, reinterpret_cast<const float*>(data) + i);
  }
  const __m256i half =
      _mm256_maskz_loadu_epi16(lanes, reinterpret_cast<const std::uint16_t*>(data) + i);
  return dtype == DType::kBf16 ? from_bf16_avx512(half) : _mm512_cvtph_ps(half);
}

/// Stores the masked lanes, rounded once, from element `i` of a tensor of fp32, bf16 or fp16.
inline void store_float_avx512(std::byte* data, DType dtype, std::int64_t i, __mmask16 lanes,
                               __m512 x) {
  if (dtype == DType::kF32) {
    _mm512_mask_storeu_ps(reinterpret_cast<float*>(data) + i, lanes, x);
    return;
  }
  const __m256i half = dtype == DType::kBf16
                           ? to_bf16_avx512(x)
                           : _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_mask_storeu_epi16(reinterpret_cast<std::uint16_t*>(data) + i, lanes, half);
}

}  // namespace pareto

#pragma GCC pop_options
