// What the sparse kernels need of a vector of 8 fp32 in AVX2 with FMA and F16C, beyond
// vector_avx2.h.
#pragma once

#include <immintrin.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "kernels/lane_halves.h"
#include "kernels/vector_avx2.h"

namespace pareto {

/// Per mask of 8 lanes the shuffle that brings the next values of kValueBytes to the lanes whose
/// bit is set: into the upper end of kLaneBytes each, zeros (0x80) elsewhere. One byte: the rank of
/// the value. Small tables, since W streams through L1 beside them.
template <unsigned kLaneBytes, unsigned kValueBytes>
struct ExpandTable {
  alignas(8 * kLaneBytes) std::uint8_t shuffle[256][8 * kLaneBytes] = {};

  constexpr ExpandTable() {
    constexpr unsigned kZeros = kLaneBytes - kValueBytes;
    for (unsigned mask = 0; mask < 256; ++mask) {
      unsigned next = 0;
      for (unsigned at = 0; at < 8 * kLaneBytes; ++at) {
        const bool set = (mask >> at / kLaneBytes & 1U) != 0 && at % kLaneBytes >= kZeros;
        shuffle[mask][at] = static_cast<std::uint8_t>(set ? next++ : 0x80U);
      }
    }
  }
};
inline constexpr ExpandTable<1, 1> kExpandRanks;
inline constexpr ExpandTable<2, 2> kExpandWords;
inline constexpr ExpandTable<4, 2> kExpandHighWords;  ///< of 8 words in both halves of a vector

}  // namespace pareto

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")

namespace pareto {

struct SparseAvx2 : Avx2F32 {
  using Control = __m256i;  ///< 2-bit indices in the low bits of each dword
  static constexpr int kMaxAccumulators = 12;
  /// Saves a tenth of the instructions; nothing is spilled.
  static constexpr bool kUnrollsColumns = true;
  /// Masks of all vectors of a column are loaded and counted together.
  static constexpr bool kCountsColumns = true;

  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Reg x) { _mm256_storeu_ps(p, x); }
  /// a[0]·b + c
  static Reg fma_broadcast(const float* a, Reg b, Reg c) { return fma(set1(*a), b, c); }

  /// 8 values of kT from `p`.
  template <DType kT>
  static Reg widen(const std::byte* p) {
    if constexpr (kT == DType::kF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    if constexpr (kT == DType::kBf16) return from_bf16_avx2(half);
    return _mm256_cvtph_ps(half);
  }
  /// 16 words of bf16 at `p`, of which number i stands where place_of_word says, in order.
  static void widen_words(const std::byte* p, Reg& first, Reg& second) {
    split_bf16_avx2(p, first, second);
  }
  static constexpr int place_of_word(int i) { return place_in_halves(i); }
  /// 4 values of kT from `p`.
  template <DType kT>
  static __m128 quad(const std::byte* p) {
    if constexpr (kT == DType::kF32) return _mm_loadu_ps(reinterpret_cast<const float*>(p));
    const __m128i half = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    if constexpr (kT == DType::kF16) return _mm_cvtph_ps(half);
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtepu16_epi32(half), 16));
  }
  static void store_quad(float* p, __m128 x) { _mm_storeu_ps(p, x); }
  /// The next values from `p` in the lanes of the mask, 0 in the others; reads 8 values.
  template <DType kT>
  static Reg expand(const std::byte* p, std::uint32_t mask) {
    if constexpr (kT == DType::kF32) {
      const __m256i rank = _mm256_cvtepi8_epi32(
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kExpandRanks.shuffle[mask])));
      const Reg moved = _mm256_permutevar8x32_ps(widen<kT>(p), rank);
      return _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_srai_epi32(rank, 31)), moved);
    }
    const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    if constexpr (kT == DType::kBf16) {
      const auto* rank = reinterpret_cast<const __m256i*>(kExpandHighWords.shuffle[mask]);
      return _mm256_castsi256_ps(
          _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), _mm256_load_si256(rank)));
    }
    const auto* rank = reinterpret_cast<const __m128i*>(kExpandWords.shuffle[mask]);
    return _mm256_cvtph_ps(_mm_shuffle_epi8(values, _mm_load_si128(rank)));
  }

  /// p[index[0 … 8)], of 16 or 32 bits. One by one: vgatherdps takes 2.1 cycles an element on Zen
  /// 3, this 0.84 (with a load for each index 1.05).
  template <typename Index>
  static Reg gather(const float* p, const Index* index) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(gather_quad(p, index)),
                                gather_quad(p, index + 4), 1);
  }

  template <typename Index>
  static __m128 gather_quad(const float* p, const Index* index) {
    std::uint64_t low;
    std::memcpy(&low, index, sizeof(low));
    if constexpr (sizeof(Index) == 2) {
      return join(p, low & 0xffffU, _bextr_u64(low, 16, 16), _bextr_u64(low, 32, 16), low >> 48U);
    }
    std::uint64_t high;
    std::memcpy(&high, index + 2, sizeof(high));
    return join(p, low & 0xffffffffU, low >> 32U, high & 0xffffffffU, high >> 32U);
  }
  /// p at four places.
  static __m128 join(const float* p, std::uint64_t i0, std::uint64_t i1, std::uint64_t i2,
                     std::uint64_t i3) {
    __m128 quad = _mm_load_ss(p + i0);
    quad = _mm_insert_ps(quad, _mm_load_ss(p + i1), 0x10);
    quad = _mm_insert_ps(quad, _mm_load_ss(p + i2), 0x20);
    return _mm_insert_ps(quad, _mm_load_ss(p + i3), 0x30);
  }

  static Reg broadcast4(const float* p) {
    return _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p));
  }
  static Control load_control(const std::byte* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  template <int kBits>
  static Control shift(Control c) {
    return kBits == 0 ? c : _mm256_srli_epi32(c, kBits);
  }
  /// Of each four lanes of x, those that the low 2 bits of each dword name.
  static Reg permute4(Reg x, Control c) { return _mm256_permutevar_ps(x, c); }

  /// In each lane `first` to the column that bits 0 and 1 of c name, `second` to that of bits 2 and
  /// 3; 0 to the others.
  static void place_two(Reg first, Reg second, Control c, Reg (&column)[4]) {
    const __m256i low = _mm256_and_si256(c, _mm256_set1_epi32(3));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi32(c, 2), _mm256_set1_epi32(3));
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const auto of = [k](__m256i index, Reg value) {
        const __m256i here = _mm256_cmpeq_epi32(index, _mm256_set1_epi32(k));
        return _mm256_and_ps(_mm256_castsi256_ps(here), value);
      };
      column[k] = _mm256_or_ps(of(low, first), of(high, second));
    }
  }

  /// The first `count` lanes, rounded once to `dtype`, from element i on.
  static void store_out(std::byte* data, DType dtype, std::int64_t i, std::int64_t count, Reg x) {
    std::byte* p = data + i * static_cast<std::int64_t>(size_of(dtype));
    if (count >= kLanes) return store_float_avx2(p, dtype, x);
    std::array<std::byte, 32> whole;
    store_float_avx2(whole.data(), dtype, x);
    std::memcpy(p, whole.data(), static_cast<std::size_t>(count) * size_of(dtype));
  }
};

}  // namespace pareto

#pragma GCC pop_options
