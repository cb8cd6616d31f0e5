// What attention in bf16 needs of AVX-512 beside its lanes: operands and weights as pairs.
//
// Included inside a `#pragma GCC target` region.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/attention/kv_rows.h"
#include "kernels/attention/lanes_avx512.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/vector_avx512.h"

namespace pareto {

/// 32 floats as bf16, in order.
inline __m512i to_pairs(__m512 low, __m512 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

/// 32 elements from element i as bf16 pairs; from `count` on they are 0 and not read.
inline __attribute__((always_inline)) __m512i load_pairs(const std::byte* data, DType dtype,
                                                         std::int64_t i, std::int64_t count) {
  if (dtype == DType::kBf16) {
    const std::int64_t left = std::clamp<std::int64_t>(count, 0, 32);
    const auto lanes = static_cast<__mmask32>((std::uint64_t{1} << left) - 1);
    return _mm512_maskz_loadu_epi16(lanes, data + i * 2);
  }
  return to_pairs(load_codes_avx512(data, dtype, i, first_lanes(count)),
                  load_codes_avx512(data, dtype, i + 16, first_lanes(count - 16)));
}

/// All but Tiles and steps, which differ between vectors and AMX. kKeyStep: keys that the tiles
/// read at a time.
template <int kKeyStep>
struct Bf16LanesAvx512 : AttentionLanesAvx512 {
  static constexpr DType kWord = DType::kBf16;
  static constexpr int kPair = 2;
  static constexpr int kExpDegree = 4;

  template <int C>
  static void store_weights(std::uint32_t* p, const Reg (&x)[C]) {
#pragma GCC unroll 2
    for (int c = 0; c < C; c += 2) {
      _mm512_storeu_si512(p + c / 2 * kLanes, to_pairs(x[c], x[c + 1]));
    }
  }
  static float word_at(const std::uint32_t* words, std::int64_t element) {
    const std::uint32_t code = reinterpret_cast<const std::uint16_t*>(words)[element];
    return std::bit_cast<float>(code << 16U);
  }
  static void pack_q(const Tensor& q, std::int64_t i, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t c = 0; c < count; c += 32) {
      _mm512_storeu_si512(out + c / 2, load_pairs(q.data, q.dtype, i + c, count - c));
    }
  }
  static void pack_k(const KvRows& rows, const KeyRange& keys, std::int64_t steps,
                     std::int64_t stride, std::uint32_t* panel) {
    pack_k_panel_avx512(rows, keys, steps, stride, KeyLoad{rows}, panel);
  }
  /// V of one panel of keys, then zeros to a whole step of the tiles; true if a value is not
  /// finite.
  static bool pack_v(const KvRows& rows, const KeyRange& keys, std::int64_t v_panels,
                     std::int64_t v_stride, std::uint32_t* v) {
    const __m512i low = pair_order(0);
    const __m512i high = pair_order(16);
    __mmask32 odd = 0;
    const std::int64_t whole = (keys.size() + kKeyStep - 1) / kKeyStep * kKeyStep;
    for (std::int64_t j = 0; j < whole; j += kPair, v += kPanel) {
      const std::int64_t left = keys.size() - j;
      const std::int64_t first = left > 0 ? rows.element(keys.lo + j) : 0;
      const std::int64_t second = left > 1 ? rows.element(keys.lo + j + 1) : 0;
      for (std::int64_t c = 0; c < v_panels * kPanel; c += 32) {
        const std::int64_t count = rows.count - c;
        const __m512i a = load_pairs(rows.data, rows.dtype, first + c, left > 0 ? count : 0);
        const __m512i b = load_pairs(rows.data, rows.dtype, second + c, left > 1 ? count : 0);
        odd |= non_finite_pairs(a) | non_finite_pairs(b);
        std::uint32_t* out = v + c / kPanel * v_stride + c % kPanel;
        _mm512_storeu_si512(out, _mm512_permutex2var_epi16(a, low, b));
        _mm512_storeu_si512(out + kLanes, _mm512_permutex2var_epi16(a, high, b));
      }
    }
    return odd != 0;
  }
  static void widen(const std::byte* stored, DType dtype, std::int64_t count, std::uint32_t* out) {
    return dtype == DType::kS8 ? widen_codes<DType::kS8>(stored, count, out)
                               : widen_codes<DType::kE4m3>(stored, count, out);
  }

 private:
  /// 16 pairs of a key.
  struct KeyLoad {
    const KvRows& rows;
    __m512i operator()(std::int64_t element, std::int64_t step) const {
      return load_pairs(rows.data, rows.dtype, element + 2 * step, rows.count - 2 * step);
    }
  };
  /// For vpermt2w: words first … first + 15 of two registers, alternating.
  static __m512i pair_order(int first) {
    const __m512i lane = _mm512_add_epi32(_mm512_set1_epi32(first), _mm512_cvtps_epi32(iota()));
    return _mm512_or_si512(lane,
                           _mm512_slli_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(32)), 16));
  }
  static __mmask32 non_finite_pairs(__m512i x) {
    const __m512i exponent = _mm512_set1_epi16(0x7f80);
    return _mm512_cmpeq_epi16_mask(_mm512_and_si512(x, exponent), exponent);
  }

  template <DType kType>
  static void widen_codes(const std::byte* stored, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t i = 0; i < count; i += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(stored) + i + kCacheAheadBytes, _MM_HINT_T0);
      _mm512_storeu_si512(out + i / 2, load_pairs(stored, kType, i, 32));
      _mm512_storeu_si512(out + i / 2 + kLanes, load_pairs(stored, kType, i + 32, 32));
    }
  }
};

}  // namespace pareto
