// What decode needs of AVX-512 beside what blocked attention does.
//
// Included inside a `#pragma GCC target` region.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/attention/decode_pages.h"
#include "kernels/attention/lanes_avx512.h"

namespace pareto {

/// Shared by the policies of fp32, bf16 and integer products.
struct DecodeLanesAvx512 : AttentionLanesAvx512 {
  static constexpr int kPageRegs = 2;
  static constexpr int kSums = 16;
  static constexpr int kColumnStep = 1;
  static constexpr CodeOrder kOrder = CodeOrder::kPlain;
  static constexpr std::int64_t kAheadBytes = 0;

  /// True for NaN, too.
  static bool any_above_zero(Reg a, Reg b) {
    const Reg zero = _mm512_setzero_ps();
    return (_mm512_cmp_ps_mask(a, zero, _CMP_NLE_UQ) | _mm512_cmp_ps_mask(b, zero, _CMP_NLE_UQ)) !=
           0;
  }
};

}  // namespace pareto
