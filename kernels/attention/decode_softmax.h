// Online softmax of decode: one row, one page of some registers of keys.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy. Weights stay
// relative to the largest logit so far, but that changes only a few times in a long row: a compare
// decides whether to look for it at all, and o and the sums are rescaled only then.
#pragma once

#include <cstdint>
#include <limits>

#include "kernels/attention/finish_row.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/task_rows.h"
#include "kernels/exp2_vector.h"

namespace pareto {

/// One row of a unit. `state.sum` is set when the row is done; until then sums run in lanes. (A
/// type for each T, lest code of one instruction set stand in for another's where the linker joins
/// them.)
template <typename T>
struct DecodeRow {
  LogitTerms terms;
  SoftmaxState state;
  bool plain = false;       ///< logits are factor · q·k, factor > 0
  bool non_finite = false;  ///< a number of q is not finite (kernels that care set it)
};

/// Raises the maximum to `most` if that is larger and rescales o[columns] and the sums of a row.
/// Returns what logits are reduced by: 0 with no key so far, so that all weights are 2^−∞ = 0.
template <typename T>
float raise_maximum(DecodeRow<T>& row, float most, float* o, std::int64_t columns, float* sums) {
  const float before = row.state.max;
  row.state.max = before < most ? most : before;
  const bool none = row.state.max == -std::numeric_limits<float>::infinity();
  const float shift = none ? 0.0F : row.state.max;
  if (before != row.state.max) {
    const auto alpha = T::V::set1(exp2_once<T>(before - shift));
    for (std::int64_t c = 0; c < columns; c += T::kLanes) {
      T::store_floats(o + c, T::V::mul(alpha, T::load_floats(o + c)));
    }
    T::store_floats(sums, T::V::mul(alpha, T::load_floats(sums)));
  }
  return shift;
}

/// Weights of the page of N registers of keys that begins at key `first`, from q·k in s, which are
/// used up. k_scale: scales of the page's keys or null.
template <typename T, int N>
inline void weigh_page(DecodeRow<T>& row, std::int64_t first, float* s, const float* k_scale,
                       float* o, std::int64_t columns, float* sums, typename T::Reg (&weights)[N]) {
  using V = typename T::V;
  using Reg = typename T::Reg;
  static_assert(N % 2 == 0);
  constexpr std::int64_t kKeys = N * T::kLanes;
  Reg x[N];
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) {
    x[n] = T::load_floats(s + n * T::kLanes);
    if (k_scale != nullptr) x[n] = V::mul(x[n], T::load_floats(k_scale + n * T::kLanes));
  }
  float factor = row.terms.factor;
  if (!row.plain || row.terms.range.lo > first || row.terms.range.hi < first + kKeys) {
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) T::store_floats(s + n * T::kLanes, x[n]);
    apply_terms<T>(row.terms, nullptr, first, s, 0, kKeys);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) x[n] = T::load_floats(s + n * T::kLanes);
    factor = 1;
  }
  Reg scale = V::set1(factor);
  Reg minus_shift = V::set1(-row.state.max);
  Reg y[N];
  bool larger = false;
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) y[n] = V::fma(x[n], scale, minus_shift);
#pragma GCC unroll 2
  for (int n = 0; n < N; n += 2) larger |= T::any_above_zero(y[n], y[n + 1]);
  if (larger) {
    Reg most = x[0];
#pragma GCC unroll 4
    for (int n = 1; n < N; ++n) most = V::max(most, x[n]);
    minus_shift = V::set1(-raise_maximum<T>(row, factor * T::reduce_max(most), o, columns, sums));
    if (weighs_rounded<T>(row.state.max)) [[unlikely]] {
      row.plain = false;
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) x[n] = V::mul(x[n], scale);
      scale = V::set1(1.0F);
    }
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) y[n] = V::fma(x[n], scale, minus_shift);
  }
  Reg sum = T::load_floats(sums);
#pragma GCC unroll 4
  for (int n = 0; n < N; n += 2) {
    weights[n] = exp2_vector<T::kExpDegree, V>(y[n]);
    weights[n + 1] = exp2_vector<T::kExpDegree, V>(y[n + 1]);
    sum = V::add(sum, V::add(weights[n], weights[n + 1]));
  }
  T::store_floats(sums, sum);
}

}  // namespace pareto
