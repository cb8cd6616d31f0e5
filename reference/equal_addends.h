// Sums whose addends are all alike, where roundings are not independent.
#pragma once

namespace pareto {

/// Whether `count` addends have one magnitude, given Σ|a| and Σa². The RMS tests take the roundings
/// of a sum for independent, which they are only between different addends: equal ones are rounded
/// by the same amount at every step within a power of two, so that errors add up n-fold instead of
/// √n-fold (constants of 0.1, one fp32 chain over K = 4096: RMS ratio 14 without this).
///
/// By Cauchy and Schwarz count·Σa² ≥ (Σ|a|)², with equality for one magnitude. Where addends differ
/// by more than some 2^-5, their last bits differ at random. Two or fewer say nothing.
inline bool equal_addends(double count, double abs, double squares) {
  constexpr double kSpread = 0x1p-10;
  return count > 2 && abs > 0 && count * squares <= abs * abs * (1 + kSpread);
}

}  // namespace pareto
