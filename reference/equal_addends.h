// Sums with equal addends, and equal sums, where roundings are not independent.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/op.h"

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

/// How likely two different ones of `values` have one magnitude, other than 0: near 0 for measured
/// data, 1/2 where they are two. Places of a and b taken for independent, that of their products is
/// equal_pairs(a) · equal_pairs(b), and beside Σ e² of the roundings of n products stands
/// n² · that · e²: also between the elements of one output, which have the same few products, so
/// that e² is not its mean, a third, but up to 1 (x and w of {0.3, 1}, one fp32 chain over K =
/// 2000: RMS ratio 4.5 without this).
inline double equal_pairs(std::vector<double> values) {
  for (double& value : values) value = std::isfinite(value) ? std::abs(value) : 0;
  std::sort(values.begin(), values.end());
  double pairs = 0;
  for (std::size_t first = 0, i = 1; i <= values.size(); ++i) {
    if (i < values.size() && values[i] == values[first]) continue;
    const auto run = static_cast<double>(i - first);
    if (values[first] != 0) pairs += run * (run - 1);
    first = i;
  }
  const auto count = static_cast<double>(values.size());
  return pairs > 0 ? pairs / (count * (count - 1)) : 0;
}

/// How many of the elements that the RMS test looks at (stat > 0) differ in any term. Where rows of
/// x or of w are alike, so are results and their roundings, which then count once (x constant, w
/// normal, 5 x 7 results of K = 128: RMS ratio 1.39, 7 of them independent).
inline std::int64_t distinct_elements(const Terms& terms, const std::vector<double>& stat) {
  std::vector<std::uint64_t> seen;
  for (std::size_t i = 0; i < stat.size(); ++i) {
    if (!(stat[i] > 0)) continue;
    std::uint64_t hash = 0;
    for (const std::vector<double>& column : terms.column) {
      if (column.empty()) continue;
      // Of splitmix64.
      hash = (hash ^ std::bit_cast<std::uint64_t>(column[i])) * 0xbf58476d1ce4e5b9U;
      hash ^= hash >> 31U;
    }
    seen.push_back(hash);
  }
  std::sort(seen.begin(), seen.end());
  return std::unique(seen.begin(), seen.end()) - seen.begin();
}

/// Whether `equal`, of n values, adds more than a hundredth to n/3: a few of many do by chance.
inline bool equal_pairs_matter(double equal, std::size_t n) {
  return 3 * static_cast<double>(n) * equal > 0.01;
}

}  // namespace pareto
