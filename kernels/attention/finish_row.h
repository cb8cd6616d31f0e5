// The last step of a row of online softmax: sink, normalization, LSE.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace pareto {

/// Online softmax of one row: the largest logit so far, in units of log 2, and Σ 2^(logit − max).
struct SoftmaxState {
  float max = -std::numeric_limits<float>::infinity();
  float sum = 0;
};

struct FinishedRow {
  float factor = 0;  ///< of the unnormalized o
  float lse = -std::numeric_limits<float>::infinity();
  bool empty = false;  ///< no key: o is 0 whatever was summed
};

/// `sink`: raw logit, −∞ if there is none.
inline FinishedRow finish_row(const SoftmaxState& state, float sink) {
  constexpr double kLn2 = 0.693147180559945309;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  if (std::isnan(state.sum) || std::isnan(sink)) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    return {nan, nan, false};
  }
  if (state.max == kNone) return {0, sink, true};
  const double max = static_cast<double>(state.max) * kLn2;
  // An fp32 logarithm is as good as the LSE that it goes into.
  if (sink == kNone) {
    const auto lse = max + static_cast<double>(std::log(state.sum));
    return {1 / state.sum, static_cast<float>(lse), false};
  }
  const double top = std::max(max, static_cast<double>(sink));
  const double own = std::exp(max - top);
  const double sum = own * state.sum + std::exp(sink - top);
  return {static_cast<float>(own / sum), static_cast<float>(top + std::log(sum)), false};
}

/// Brings in the scale that codes of V of one head have: into the factor or, where that would
/// become subnormal and lose bits, by multiplying `o` with the old factor.
inline void scale_values(float v_scale, std::span<float> o, FinishedRow& row) {
  const float scaled = row.factor * v_scale;
  if (!(std::abs(scaled) < std::numeric_limits<float>::min())) {
    row.factor = scaled;
    return;
  }
  for (float& value : o) value *= row.factor;
  row.factor = v_scale;
}

}  // namespace pareto
