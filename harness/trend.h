// Whether a series drifted while it was measured.
#pragma once

#include <span>

namespace pareto {

struct Trend {
  double p_value = 1;          ///< Mann–Kendall, two-sided, corrected for ties
  double relative_change = 0;  ///< Sen slope × duration ÷ median
  /// p < .01 and a change of more than 1 %: the median describes no steady state.
  [[nodiscard]] bool unstable() const;
};

/// `values` (block medians, seconds) against `start_s` (ascending), same count. O(count²); needs 8.
Trend trend_of(std::span<const double> start_s, std::span<const double> values);

}  // namespace pareto
