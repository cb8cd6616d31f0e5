// Words and products of decode in bf16: pairs, vdpbf16ps, weights rounded to bf16.
//
// Included inside a `#pragma GCC target` region.
#pragma once

#include <immintrin.h>

#include <bit>
#include <cstdint>

#include "kernels/attention/decode_lanes_avx512.h"

namespace pareto {

struct DecodeBf16Lanes : DecodeLanesAvx512 {
  static constexpr int kPair = 2;
  static constexpr int kExpDegree = 4;

  static Reg multiply_add(Reg c, Reg w, Reg x) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(w), reinterpret_cast<__m512bh>(x));
  }
  static void store_page_weights(std::uint32_t* p, const Reg (&w)[2]) {
    _mm512_storeu_si512(p, to_pairs(w[0], w[1]));
  }
  static float weight_at(const std::uint32_t* weights, std::int64_t j) {
    const std::uint32_t code = reinterpret_cast<const std::uint16_t*>(weights)[j];
    return std::bit_cast<float>(code << 16U);
  }
  static void pack_q(const Tensor& q, std::int64_t at, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t c = 0; c < count; c += 2 * kLanes) {
      const Reg low = load_codes_avx512(q.data, q.dtype, at + c, first_lanes(count - c));
      const Reg high =
          load_codes_avx512(q.data, q.dtype, at + c + kLanes, first_lanes(count - c - kLanes));
      _mm512_storeu_si512(out + c / 2, to_pairs(low, high));
    }
  }

 private:
  /// 32 floats as bf16, in order.
  static __m512i to_pairs(__m512 low, __m512 high) {
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
  }
};

}  // namespace pareto
