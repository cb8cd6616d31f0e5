// What the sparse kernels need of a vector of 16 fp32 in AVX-512 F/BW/DQ/VL, beyond
// vector_avx512.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/vector_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2,popcnt")

namespace pareto {

struct SparseAvx512 : Avx512F32 {
  using Control = __m512i;  ///< 2-bit indices in the low bits of each dword
  static constexpr int kMaxAccumulators = 24;
  /// Four columns in a row make GCC spill two of 24 sums of fp32.
  static constexpr bool kUnrollsColumns = false;
  /// Masks are loaded and counted vector by vector, as vpexpand wants them.
  static constexpr bool kCountsColumns = false;

  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  /// a[0]·b + c; the compiler makes the broadcast part of the instruction.
  static Reg fma_broadcast(const float* a, Reg b, Reg c) { return fma(set1(*a), b, c); }

  /// 16 values of kT from `p`.
  template <DType kT>
  static Reg widen(const std::byte* p) {
    if constexpr (kT == DType::kF32) return _mm512_loadu_ps(p);
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    if constexpr (kT == DType::kBf16) return from_bf16_avx512(half);
    return _mm512_cvtph_ps(half);
  }
  /// 32 words of bf16 at `p`, of which number i stands where place_of_word says, in order.
  static void widen_words(const std::byte* p, Reg& first, Reg& second) {
    const __m512i words = _mm512_loadu_si512(p);
    first = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000U));
    second = _mm512_castsi512_ps(_mm512_and_si512(words, high));
  }
  static constexpr int place_of_word(int i) { return i % 16 * 2 + i / 16; }
  /// 4 values of kT from `p`.
  template <DType kT>
  static __m128 quad(const std::byte* p) {
    if constexpr (kT == DType::kF32) return _mm_loadu_ps(reinterpret_cast<const float*>(p));
    const __m128i half = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    if constexpr (kT == DType::kF16) return _mm_cvtph_ps(half);
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(half), 16));
  }
  static void store_quad(float* p, __m128 x) { _mm_storeu_ps(p, x); }
  /// The next values from `p` in the lanes of the mask, 0 in the others; reads 16 values.
  template <DType kT>
  static Reg expand(const std::byte* p, std::uint32_t mask) {
    Reg x = widen<kT>(p);
    // With {z}, the instruction still waits for its destination: naming the source as destination
    // costs nothing, any other register 6.5 cycles per instruction on Zen 5.
    asm("vexpandps %0, %0%{%1%}%{z%}" : "+v"(x) : "Yk"(static_cast<__mmask16>(mask)));
    return x;
  }

  /// p[index[0 … 16)], of 16 or 32 bits.
  template <typename Index>
  static Reg gather(const float* p, const Index* index) {
    if constexpr (sizeof(Index) == 4) {
      return _mm512_i32gather_ps(_mm512_loadu_si512(index), p, 4);
    }
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index));
    return _mm512_i32gather_ps(_mm512_cvtepu16_epi32(words), p, 4);
  }

  static Reg broadcast4(const float* p) { return _mm512_broadcast_f32x4(_mm_loadu_ps(p)); }
  static Control load_control(const std::byte* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <int kBits>
  static Control shift(Control c) {
    return kBits == 0 ? c : _mm512_srli_epi32(c, kBits);
  }
  /// Of each four lanes of x, those that the low 2 bits of each dword name.
  static Reg permute4(Reg x, Control c) { return _mm512_permutevar_ps(x, c); }

  /// The first `count` lanes, rounded once to `dtype`, from element i on.
  static void store_out(std::byte* data, DType dtype, std::int64_t i, std::int64_t count, Reg x) {
    store_float_avx512(data, dtype, i, first_lanes(count), x);
  }
};

}  // namespace pareto

#pragma GCC pop_options
