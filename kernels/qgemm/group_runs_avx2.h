// Integer sums of the group-wise products with AVX2, over panels of 32 columns whose lanes are four
// values of K (kPer = 4 of group_formats.h).
//
// Idea: vpmaddubsw multiplies unsigned by signed bytes and adds pairs of them to s16. A nibble
// (0…15) times x (±127) makes pairs of at most 3810, and eight of those fit s16: a group of 32
// takes half the multiplications of vpmaddwd on widened codes, and one vpmaddwd at its end. Raised
// nibbles start at −8·Σx, so that it is (w − 8)·x that is summed, of which sixteen pairs fit.
// Codes of 8 bits become |w| times x with w's sign, whose pairs fit, though no two of them do: x
// never is −128.
//
// A strip holds, for every group, its dwords of four s8 [kGroup/4][rows], then fp32 scale[rows],
// then, of raised nibbles, s16 −8·Σx [runs][rows][2] over the first and the last two values of the
// dwords of a run, or, where W has minima, fp32 scale·Σx [rows]. A group of a super-block that
// begins beyond K has nothing but a scale of −0, where tiles stop.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/qgemm/group_formats.h"
#include "kernels/vector_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

/// A step is one group with fp16 scales.
template <int kGroupSize, bool kNibble>
struct PlainGroupsAvx2 : PlainGroups<kGroupSize, kNibble, 4> {
  /// Values of K whose sums fit s16, and how many such runs make a group.
  static constexpr int kRun = kGroupSize < 64 ? kGroupSize : 64;
  static constexpr int kRuns = kGroupSize / kRun;
  /// What makes nibbles unsigned.
  static constexpr int kRaise = kNibble ? 8 : 0;
  static constexpr int kRowDwords = kGroupSize / 4 + 1 + (kNibble ? kRuns : 0);
};

/// A step is a super-block of q4_k.
struct Q4kGroupsAvx2 : Q4kGroups<4> {
  static constexpr int kRun = kGroup;
  static constexpr int kRuns = 1;
  static constexpr int kRaise = 0;
  static constexpr int kRowDwords = kGroup / 4 + 2;
};

/// The scale of a group beyond K; no other group has it.
inline constexpr float kScaleBeyondK = -0.0F;
inline bool is_beyond_k(const std::byte* scale) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, scale, sizeof(bits));
  return bits == std::bit_cast<std::uint32_t>(kScaleBeyondK);
}

template <int kRows, int kVectors>
struct GroupSumsAvx2 {
  __m256i of[kRows][kVectors];
};

/// Keeps `sum` in its register at this point: free to add in another order, the compiler first
/// gathers products, more than there are registers for.
[[gnu::always_inline]] inline void settle(__m256i& sum) { asm("" : "+x"(sum)); }

/// s16 sums += four values of K.
template <int kRows, int kVectors>
[[gnu::always_inline]] inline void add_nibbles(GroupSumsAvx2<kRows, kVectors>& s,
                                               const __m256i (&w)[kVectors], const std::byte* a) {
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    const __m256i x = broadcast_dword_avx2(a + i * 4);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      s.of[i][v] = _mm256_add_epi16(s.of[i][v], _mm256_maddubs_epi16(w[v], x));
      settle(s.of[i][v]);
    }
  }
}

/// int32 sums += four values of K.
template <int kRows, int kVectors>
[[gnu::always_inline]] inline void add_bytes(GroupSumsAvx2<kRows, kVectors>& s,
                                             const __m256i (&w)[kVectors], const std::byte* a) {
  __m256i magnitude[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) magnitude[v] = _mm256_abs_epi8(w[v]);
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
    const __m256i x = broadcast_dword_avx2(a + i * 4);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const __m256i pairs = _mm256_maddubs_epi16(magnitude[v], _mm256_sign_epi8(x, w[v]));
      s.of[i][v] = _mm256_add_epi32(s.of[i][v], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
      settle(s.of[i][v]);
    }
  }
}

/// Sums of one run: s16 of nibbles, which begin at `start`, or int32 of bytes.
template <typename Format, int kRows, int kVectors>
[[gnu::always_inline]] inline void add_run(GroupSumsAvx2<kRows, kVectors>& s, const std::byte* a,
                                           const std::byte* w, const std::byte* start) {
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      s.of[i][v] =
          Format::kRaise != 0 ? broadcast_dword_avx2(start + i * 4) : _mm256_setzero_si256();
    }
  }
  // Unrolled whole, the loop would spill.
#pragma GCC unroll 1
  for (int k = 0; k < Format::kRun; k += Format::kNibbles ? 8 : 4) {
    __m256i codes[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      codes[v] = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + v * 32));
    }
    if constexpr (Format::kNibbles) {
      const __m256i low = _mm256_set1_epi8(15);
      __m256i nibbles[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) nibbles[v] = _mm256_and_si256(codes[v], low);
      add_nibbles(s, nibbles, a);
      a += kRows * 4;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        nibbles[v] = _mm256_and_si256(_mm256_srli_epi16(codes[v], 4), low);
      }
      add_nibbles(s, nibbles, a);
    } else {
      add_bytes(s, codes, a);
    }
    a += kRows * 4;
    w += 128;
  }
}

}  // namespace pareto

#pragma GCC pop_options
