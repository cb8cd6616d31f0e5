// The softmax of a row whose scores are all there: no maximum so far, nothing to rescale.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/attention/softmax_rows.h"
#include "kernels/exp2_vector.h"
#include "reference/attention.h"

namespace pareto {

/// Weights 2^(factor · s − max) of one row in place of s, 0 outside `keys`; their sum before
/// rounding.
template <typename T, int C>
inline void weigh_few(const KeyRange& keys, float factor, float* s, float& max, float& sum) {
  using V = typename T::V;
  using Reg = typename T::Reg;
  const Reg none = V::set1(-std::numeric_limits<float>::infinity());
  Reg x[C];
  Reg most = none;
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    x[c] = T::select(T::few_lanes_between(c * T::kLanes, keys.lo, keys.hi),
                     T::load_floats(s + c * T::kLanes), none);
    most = V::max(most, x[c]);
  }
  max = factor * T::reduce_max(most);
  // Without a key, all weights shall be 2^−∞ = 0.
  const Reg minus_shift = V::set1(-std::max(max, std::numeric_limits<float>::lowest()));
  Reg scale = V::set1(factor);
  if (weighs_rounded<T>(max)) [[unlikely]] {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) x[c] = V::mul(x[c], scale);
    scale = V::set1(1.0F);
  }
  Reg total = V::set1(0.0F);
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c) {
    x[c] = exp2_vector<T::kExpDegree, V>(V::fma(x[c], scale, minus_shift));
    total = V::add(total, x[c]);
  }
  T::store_weights(reinterpret_cast<std::uint32_t*>(s), x);
  sum = T::reduce_add(total);
}

}  // namespace pareto
