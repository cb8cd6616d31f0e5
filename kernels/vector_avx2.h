// 8 lanes of fp32 in AVX2 with FMA and F16C: the operations that headers shared by instruction sets
// are written in, and conversions of 16-bit types.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "harness/tensor.h"
#include "reference/activation.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

#include "kernels/activation_vector.h"

namespace pareto {

/// min and max return the second argument if either is NaN.
struct Avx2F32 {
  using Reg = __m256;
  static constexpr int kLanes = 8;
  static Reg set1(float x) { return _mm256_set1_ps(x); }
  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  /// a·b + c
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  /// c − a·b
  static Reg fnma(Reg a, Reg b, Reg c) { return _mm256_fnmadd_ps(a, b, c); }
  /// Nearest integer, ties to even.
  static Reg round(Reg a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  /// a·2^n, n an integer in ±252: in two factors, since 2^n alone may be no normal number.
  static Reg scale(Reg a, Reg n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return mul(mul(a, power_of_two(half)), power_of_two(_mm256_sub_epi32(whole, half)));
  }
  static Reg abs(Reg a) { return _mm256_andnot_ps(set1(-0.0F), a); }
  static Reg copysign(Reg magnitude, Reg sign) {
    return _mm256_or_ps(magnitude, _mm256_and_ps(sign, set1(-0.0F)));
  }
  /// x < y ? a : b
  static Reg select_less(Reg x, Reg y, Reg a, Reg b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_LT_OQ));
  }

 private:
  static Reg power_of_two(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
};

/// The 4 bytes at p, which need no alignment, in every lane. Of floats, too: vpbroadcastd is a load
/// and no more, while vbroadcastss takes a slot of Zen 4's multipliers as well.
inline __m256i broadcast_dword_avx2(const std::byte* p) {
  std::int32_t bits = 0;
  std::memcpy(&bits, p, sizeof(bits));
  return _mm256_set1_epi32(bits);
}

/// bf16 of 8 floats, nearest even; NaN stays NaN.
inline __m128i to_bf16_avx2(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i words = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  const __m256i packed = _mm256_packus_epi32(words, words);
  return _mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
}

inline __m256 from_bf16_avx2(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

/// The first or the last 8 of 16 words of bf16 in the order of lane_halves.h: one instruction that
/// reads memory, which GCC 12 makes two of unless it is told, and a register of zeros.
inline __m256 lower_bf16_avx2(const std::byte* p) {
  __m256 x;
  asm("vpunpcklwd %1, %2, %0"
      : "=x"(x)
      : "m"(*reinterpret_cast<const __m256i_u*>(p)), "x"(_mm256_setzero_si256()));
  return x;
}
inline __m256 upper_bf16_avx2(const std::byte* p) {
  __m256 x;
  asm("vpunpckhwd %1, %2, %0"
      : "=x"(x)
      : "m"(*reinterpret_cast<const __m256i_u*>(p)), "x"(_mm256_setzero_si256()));
  return x;
}
/// Both, where no register is left for zeros: they are made each time.
inline void split_bf16_avx2(const std::byte* p, __m256& lower, __m256& upper) {
  asm("vpxor %x1, %x1, %x1\n\tvpunpcklwd %2, %1, %0\n\tvpunpckhwd %2, %1, %1"
      : "=&x"(lower), "=&x"(upper)
      : "m"(*reinterpret_cast<const __m256i_u*>(p)));
}

/// 8 values of fp32, bf16 or fp16 as fp32.
inline __m256 load_float_avx2(const std::byte* p, DType dtype) {
  if (dtype == DType::kF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return dtype == DType::kBf16 ? from_bf16_avx2(half) : _mm256_cvtph_ps(half);
}

/// 8 values rounded once to fp32, bf16 or fp16.
inline void store_float_avx2(std::byte* p, DType dtype, __m256 x) {
  if (dtype == DType::kF32) {
    _mm256_storeu_ps(reinterpret_cast<float*>(p), x);
    return;
  }
  const __m128i half = dtype == DType::kBf16
                           ? to_bf16_avx2(x)
                           : _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), half);
}

}  // namespace pareto

#pragma GCC pop_options
