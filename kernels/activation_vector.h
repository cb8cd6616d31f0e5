// Activation functions on vectors of fp32, written once for all instruction sets.
//
// Included inside a `#pragma GCC target` region (by vector_avx512.h and vector_avx2.h), whose
// instructions V, the vector type's operations, stands for. Coefficients are minimax fits to fp64
// functions; with fp32 evaluation the error stays under 2^-21·(|f| + min(|y|, 16)), which the tests
// of the variants sweep.
#pragma once

#include "reference/activation.h"

namespace pareto {

/// e^x: x = n·ln 2 + r, |r| ≤ 0.347, polynomial error 3.1e-9 relative. 0, Inf and NaN as IEEE.
template <typename V>
inline typename V::Reg exp_vector(typename V::Reg x) {
  // Beyond ±110 the result is 0 or Inf anyway. The order of arguments lets NaN through.
  x = V::min(V::set1(110.0F), V::max(V::set1(-110.0F), x));
  const auto n = V::round(V::mul(x, V::set1(0x1.715476p+0F)));
  auto r = V::fnma(n, V::set1(0x1.62e400p-1F), x);
  r = V::fnma(n, V::set1(0x1.7f7d1cp-20F), r);
  auto p = V::set1(0x1.6a2430p-10F);
  p = V::fma(p, r, V::set1(0x1.1239e4p-7F));
  p = V::fma(p, r, V::set1(0x1.5558f2p-5F));
  p = V::fma(p, r, V::set1(0x1.555492p-3F));
  p = V::fma(p, r, V::set1(0x1.fffffcp-2F));
  p = V::fma(V::mul(r, r), p, r);
  return V::scale(V::add(p, V::set1(1.0F)), n);
}

/// 1 / (1 + e^-y)
template <typename V>
inline typename V::Reg sigmoid_vector(typename V::Reg y) {
  const auto one = V::set1(1.0F);
  return V::div(one, V::add(one, exp_vector<V>(V::sub(V::set1(0.0F), y))));
}

/// Odd polynomial (4.1e-9 relative) up to 0.625, then 1 − 2/(e^2|y| + 1).
template <typename V>
inline typename V::Reg tanh_vector(typename V::Reg y) {
  const auto magnitude = V::abs(y);
  const auto square = V::mul(y, y);
  auto p = V::set1(-0x1.76abf6p-8F);
  p = V::fma(p, square, V::set1(0x1.5256cep-6F));
  p = V::fma(p, square, V::set1(-0x1.b84448p-5F));
  p = V::fma(p, square, V::set1(0x1.110768p-3F));
  p = V::fma(p, square, V::set1(-0x1.555534p-2F));
  const auto near = V::fma(V::mul(square, y), p, y);
  const auto grown = V::add(exp_vector<V>(V::add(magnitude, magnitude)), V::set1(1.0F));
  const auto far = V::sub(V::set1(1.0F), V::div(V::set1(2.0F), grown));
  return V::select_less(magnitude, V::set1(0.625F), near, V::copysign(far, y));
}

/// y·Φ(y), with Φ(−|y|) = e^(−y²/2)·s·P(s), s = 1/(1 + 0.35·|y|/√2); P within 1.5e-9.
template <typename V>
inline typename V::Reg gelu_vector(typename V::Reg y) {
  const auto one = V::set1(1.0F);
  const auto s = V::div(one, V::fma(V::abs(y), V::set1(0.35F * 0x1.6a09e6p-1F), one));
  auto p = V::set1(-0x1.8a7818p-4F);
  p = V::fma(p, s, V::set1(0x1.7d80bcp-2F));
  p = V::fma(p, s, V::set1(-0x1.3f216ap-2F));
  p = V::fma(p, s, V::set1(0x1.3db314p-2F));
  p = V::fma(p, s, V::set1(0x1.02a75cp-6F));
  p = V::fma(p, s, V::set1(0x1.c7c0b2p-4F));
  p = V::fma(p, s, V::set1(0x1.91c3f6p-4F));
  const auto tail = V::mul(V::mul(exp_vector<V>(V::mul(V::mul(y, y), V::set1(-0.5F))), s), p);
  return V::mul(y, V::select_less(y, V::set1(0.0F), tail, V::sub(one, tail)));
}

/// f(y); NaN stays NaN.
template <typename V>
inline typename V::Reg activate_vector(Activation activation, typename V::Reg y) {
  switch (activation) {
    case Activation::kNone:
      return y;
    case Activation::kRelu:
      return V::max(V::set1(0.0F), y);
    case Activation::kGelu:
      return gelu_vector<V>(y);
    case Activation::kSilu:
      return V::mul(y, sigmoid_vector<V>(y));
    case Activation::kSigmoid:
      return sigmoid_vector<V>(y);
    case Activation::kTanh:
      return tanh_vector<V>(y);
  }
  return y;
}

}  // namespace pareto
