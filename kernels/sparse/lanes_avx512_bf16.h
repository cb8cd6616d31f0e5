// 16 lanes that hold a pair of bf16 each: sums of fp32, products by vdpbf16ps. Needs AVX512-BF16,
// and VBMI2 for the expansion.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/sparse/lanes_avx512.h"

#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi2,avx512bf16,avx2,fma,f16c,bmi2,popcnt")

namespace pareto {

/// Plain fp32. A name of its own: functions made of it here must not be linked into files that need
/// fewer extensions.
struct FloatsOfAvx512Bf16 : SparseAvx512 {};

struct SparseAvx512Bf16 : SparseAvx512 {
  using Floats = FloatsOfAvx512Bf16;  ///< for the epilogue
  /// +6 % for the bitmap at M = 24; nothing is spilled.
  static constexpr bool kUnrollsColumns = true;
  /// c + the two products of each lane; a register of pairs is carried as if it held floats.
  static Reg fma(Reg a, Reg b, Reg c) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(b), "v"(a));
    return c;
  }
  /// The same, with one pair for all lanes, which the instruction reads itself: 26 to 21 cycles per
  /// expanded vector at 16 tokens on Zen 4, whose separate broadcasts cost a load each.
  /// Volatile, as expand_pairs is: the compiler must not move the expansion behind the products
  /// that it is to overlap (18.8 to 17.9 cycles).
  static Reg fma_broadcast(const float* a, Reg b, Reg c) {
    asm volatile("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(b), "m"(*a));
    return c;
  }
  /// The next of 32 bf16 values from `p` in the places of the mask, 0 in the others; reads 64
  /// bytes.
  static Reg expand_pairs(const std::byte* p, std::uint32_t mask) {
    __m512i x = _mm512_loadu_si512(p);
    // The destination is named as the source: see SparseAvx512::expand.
    asm volatile("vpexpandw %0, %0%{%1%}%{z%}" : "+v"(x) : "Yk"(static_cast<__mmask32>(mask)));
    return _mm512_castsi512_ps(x);
  }
};

}  // namespace pareto

#pragma GCC pop_options
