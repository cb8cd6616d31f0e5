// 2^x on vectors of fp32, written once for all instruction sets: exactly 1 at 0, exactly 0 at −∞,
// NaN for NaN.
//
// Included inside a `#pragma GCC target` region, like activation_vector.h. V::floor_rest(x) is
// x − ⌊x⌋ (0 for ±∞), V::scale_floor(a, x) is a·2^⌊x⌋. Coefficients are minimax in the relative
// error on [0, 1] with the constant held at 1.
#pragma once

namespace pareto {

/// Degree 5: relative error 2^-23.3 and rounding, below 2^-21 together. Degree 4: 2^-18.3, below
/// 2^-17; enough where the result is rounded to 16 bits.
template <int kDegree, typename V>
inline typename V::Reg exp2_vector(typename V::Reg x) {
  static_assert(kDegree == 4 || kDegree == 5);
  const auto r = V::floor_rest(x);
  auto p = V::set1(kDegree == 5 ? 0x1.e974fap-10F : 0x1.b7f73p-7F);
  if constexpr (kDegree == 5) {
    p = V::fma(p, r, V::set1(0x1.277856p-7F));
    p = V::fma(p, r, V::set1(0x1.c91ce6p-5F));
  } else {
    p = V::fma(p, r, V::set1(0x1.abf868p-5F));
  }
  p = V::fma(p, r, V::set1(kDegree == 5 ? 0x1.ebdb56p-3F : 0x1.ee2450p-3F));
  p = V::fma(p, r, V::set1(kDegree == 5 ? 0x1.62e4bap-1F : 0x1.62d6c6p-1F));
  p = V::fma(p, r, V::set1(1.0F));
  return V::scale_floor(p, x);
}

}  // namespace pareto
