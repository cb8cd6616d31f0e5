// Online softmax of decode: one row, one page of two registers of keys.
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

/// Weights of the page that begins at key `first`, from q·k in s[2 registers], which are used up.
/// k_scale: scales of the page's keys or null.
template <typename T>
inline void weigh_page(DecodeRow<T>& row, std::int64_t first, float* s, const float* k_scale,
                       float* o, std::int64_t columns, float* sums, typename T::Reg (&weights)[2]) {
  using V = typename T::V;
  using Reg = typename T::Reg;
  constexpr std::int64_t kKeys = 2 * T::kLanes;
  Reg x[2] = {T::load_floats(s), T::load_floats(s + T::kLanes)};
  if (k_scale != nullptr) {
    x[0] = V::mul(x[0], T::load_floats(k_scale));
    x[1] = V::mul(x[1], T::load_floats(k_scale + T::kLanes));
  }
  float factor = row.terms.factor;
  if (!row.plain || row.terms.range.lo > first || row.terms.range.hi < first + kKeys) {
    T::store_floats(s, x[0]);
    T::store_floats(s + T::kLanes, x[1]);
    apply_terms<T>(row.terms, nullptr, first, s, 0, kKeys);
    x[0] = T::load_floats(s);
    x[1] = T::load_floats(s + T::kLanes);
    factor = 1;
  }
  const Reg scale = V::set1(factor);
  Reg minus_shift = V::set1(-row.state.max);
  Reg y[2] = {V::fma(x[0], scale, minus_shift), V::fma(x[1], scale, minus_shift)};
  if (T::any_above_zero(y[0], y[1])) {
    const float most = factor * T::reduce_max(V::max(x[0], x[1]));
    minus_shift = V::set1(-raise_maximum<T>(row, most, o, columns, sums));
    y[0] = V::fma(x[0], scale, minus_shift);
    y[1] = V::fma(x[1], scale, minus_shift);
  }
  weights[0] = exp2_vector<T::kExpDegree, V>(y[0]);
  weights[1] = exp2_vector<T::kExpDegree, V>(y[1]);
  T::store_floats(sums, V::add(T::load_floats(sums), V::add(weights[0], weights[1])));
}

}  // namespace pareto
