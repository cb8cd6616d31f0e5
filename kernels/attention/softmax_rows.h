// One row of scores of blocked attention: options and masks, the maximum, weights.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy. Logits are in
// units of log 2, so that weights are powers of 2.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/attention/task_rows.h"
#include "kernels/exp2_vector.h"

namespace pareto {

/// Are logits so large that weights have to be taken from logits rounded to fp32? A fused
/// multiply-add sees how far factor · s is above the rounded maximum: from 2^31 on, so far that 2
/// to that overflows.
template <typename T>
bool weighs_rounded(float largest_logit) {
  return std::abs(largest_logit) > 0x1p24F && std::isfinite(largest_logit);
}

/// Puts −∞ in place of s[first … last) where key block + i is not in `range` and returns the
/// largest of the rest and `most`.
template <typename T>
float mask_panels(const KeyRange& range, std::int64_t block, float* s, std::int64_t first,
                  std::int64_t last, float most) {
  if (first >= last) return most;
  using Reg = typename T::Reg;
  const Reg none = T::V::set1(-std::numeric_limits<float>::infinity());
  Reg top = T::V::set1(most);
  for (std::int64_t at = first; at < last; at += T::kLanes) {
    const auto mask = T::lanes_between(block + at, range.lo, range.hi);
    const Reg t = T::select(mask, T::load_floats(s + at), none);
    T::store_floats(s + at, t);
    top = T::V::max(top, t);
  }
  return T::reduce_max(top);
}

/// Turns q·k of keys block + first … block + last − 1, at s[first …], into logits in place, −∞
/// where the row does not see the key, and returns the largest. k_scale, if any: per key from the
/// block's first. first, last: multiples of a register.
template <typename T>
float apply_terms(const LogitTerms& terms, const float* k_scale, std::int64_t block, float* s,
                  std::int64_t first, std::int64_t last) {
  using V = typename T::V;
  using Reg = typename T::Reg;
  constexpr float kLog2E = 0x1.715476p+0F;
  constexpr float kLargest = std::numeric_limits<float>::max();
  constexpr float kLowestBias = -0x1.62e42ep+127F;  // times kLog2E: just above −kLargest
  const Reg none = V::set1(-std::numeric_limits<float>::infinity());
  Reg most = none;
  for (std::int64_t at = first; at < last; at += T::kLanes) {
    const std::int64_t j = block + at;
    auto mask = T::lanes_between(j, terms.range.lo, terms.range.hi);
    if (terms.allowed != nullptr) {
      mask = T::allowed_lanes(mask, terms.allowed + j * terms.allowed_stride, terms.allowed_stride);
    }
    Reg t = V::mul(T::load_floats(s + at), V::set1(terms.factor));
    if (k_scale != nullptr) t = V::mul(t, T::load_floats(k_scale + at));
    if (terms.cap > 0) t = V::mul(tanh_vector<V>(t), V::set1(terms.cap));
    if (terms.slope != 0) {
      const Reg from_query = V::add(V::set1(static_cast<float>(j - terms.position)), T::iota());
      t = V::fnma(V::set1(terms.slope), V::abs(from_query), t);
    }
    if (terms.bias != nullptr) {
      const Reg bias = T::load_lanes(mask, terms.bias + j * terms.bias_stride, terms.bias_stride);
      // A finite bias is one key more, however low (often the lowest number, as a mask): in units
      // of log 2 it would become −∞.
      t = V::fma(V::max(V::set1(kLowestBias), bias), V::set1(kLog2E), t);
      t = V::add(t, V::min(V::add(bias, V::set1(kLargest)), V::set1(0.0F)));
    }
    t = T::select(mask, t, none);
    T::store_floats(s + at, t);
    most = V::max(most, t);
  }
  return T::reduce_max(most);
}

/// C registers of weights in place of s[j …], added to sum; as `weigh`.
template <typename T, int C>
inline __attribute__((always_inline)) void weigh_registers(float* s, std::int64_t j,
                                                           typename T::Reg scale,
                                                           typename T::Reg minus_shift,
                                                           const float* v_scale,
                                                           typename T::Reg (&sum)[T::kColumns]) {
  using V = typename T::V;
  typename T::Reg p[C];
#pragma GCC unroll 4
  for (int c = 0; c < C; ++c) {
    p[c] = exp2_vector<T::kExpDegree, V>(
        V::fma(T::load_floats(s + j + c * T::kLanes), scale, minus_shift));
    sum[c] = V::add(sum[c], p[c]);
    if (v_scale != nullptr) p[c] = V::mul(p[c], T::load_floats(v_scale + j + c * T::kLanes));
  }
  T::store_weights(reinterpret_cast<std::uint32_t*>(s) + j / T::kPair, p);
}

/// Replaces s[first … last) by weights 2^(s·factor − shift), as operands of value_tile (kPair
/// weights per dword, those of s[j] in dword j / kPair), and returns their sum before rounding.
/// v_scale, if any, multiplies what is stored. first: a multiple of the panel, last: of kPair
/// registers.
template <typename T>
float weigh(float* s, std::int64_t first, std::int64_t last, float factor, float shift,
            const float* v_scale) {
  using V = typename T::V;
  using Reg = typename T::Reg;
  const Reg scale = V::set1(factor);
  const Reg minus_shift = V::set1(-shift);
  Reg sum[T::kColumns];
#pragma GCC unroll 4
  for (int c = 0; c < T::kColumns; ++c) sum[c] = V::set1(0.0F);
  std::int64_t j = first;
  for (; j + T::kPanel <= last; j += T::kPanel) {
    weigh_registers<T, T::kColumns>(s, j, scale, minus_shift, v_scale, sum);
  }
  for (; j < last; j += T::kPair * T::kLanes) {
    weigh_registers<T, T::kPair>(s, j, scale, minus_shift, v_scale, sum);
  }
#pragma GCC unroll 4
  for (int c = 1; c < T::kColumns; ++c) sum[0] = V::add(sum[0], sum[c]);
  return T::reduce_add(sum[0]);
}

/// 2^x of one number, by the same function.
template <typename T>
float exp2_once(float x) {
  return T::first(exp2_vector<T::kExpDegree, typename T::V>(T::V::set1(x)));
}

}  // namespace pareto
