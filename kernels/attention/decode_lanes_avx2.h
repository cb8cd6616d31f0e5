// What decode needs of AVX2 beside what blocked attention does.
//
// Included inside a `#pragma GCC target` region.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/attention/lanes_avx2.h"

namespace pareto {

/// Shared by the policies of fp32 and of integer products.
struct DecodeLanesAvx2 : AttentionLanesAvx2 {
  static constexpr int kRows = 4;
  static constexpr std::int64_t kAheadBytes = 4 << 10;

  /// True for NaN, too.
  static bool any_above_zero(Reg a, Reg b) {
    const Reg zero = _mm256_setzero_ps();
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(a, zero, _CMP_NLE_UQ),
                                           _mm256_cmp_ps(b, zero, _CMP_NLE_UQ))) != 0;
  }
};

}  // namespace pareto
