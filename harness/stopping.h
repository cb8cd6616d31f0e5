// When a series of blocks is long enough: the 95 % interval of its median, corrected for
// autocorrelation. Pure functions; times in seconds, blocks in the order they were taken.
#pragma once

#include <cstdint>
#include <span>

namespace pareto {

/// Both ends NaN: the data say nothing (too few blocks, or too alike in time).
struct Interval {
  double lo;
  double hi;
  [[nodiscard]] bool known() const { return lo <= hi; }
};

/// NaN for no values; the mean of the middle two for an even count.
double median_of(std::span<const double> values);

/// Lag-1 autocorrelation, clipped to [0, 0.99]; 0 for constant or fewer than 3 values.
double lag1_autocorrelation(std::span<const double> values);

/// Distribution-free 95 % interval of the median: with ρ the lag-1 autocorrelation of the B values
/// and B_eff = B(1−ρ)/(1+ρ), from rank ⌊B(½ − 0.98/√B_eff)⌋ to ⌈B(½ + 0.98/√B_eff)⌉. NaN under 8
/// values, or where a rank leaves 1…B.
Interval median_interval(std::span<const double> block_medians);

/// True at B = 16, 32, 64, …: looking at every block would stop at lucky moments.
bool is_checkpoint(std::int64_t blocks);

/// True if `interval` lies within ±`precision` (relative) of `median`.
bool is_within(const Interval& interval, double median, double precision);

/// t interval on the logarithms of the medians of independent processes; NaN for fewer than 5.
Interval process_interval(std::span<const double> process_medians);

}  // namespace pareto
