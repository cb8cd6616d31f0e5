#include "harness/trend.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "harness/stopping.h"

namespace pareto {
namespace {

constexpr double kAlpha = 0.01;
constexpr double kSmallestChange = 0.01;
constexpr std::size_t kFewestBlocks = 8;  // the normal approximation of S holds from about here

double tie_correction(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  double correction = 0;
  for (auto begin = sorted.begin(); begin != sorted.end();) {
    const auto end = std::upper_bound(begin, sorted.end(), *begin);
    const auto ties = static_cast<double>(end - begin);
    correction += ties * (ties - 1) * (2 * ties + 5);
    begin = end;
  }
  return correction;
}

}  // namespace

bool Trend::unstable() const {
  return p_value < kAlpha && std::abs(relative_change) > kSmallestChange;
}

Trend trend_of(std::span<const double> start_s, std::span<const double> values) {
  Trend trend;
  if (values.size() < kFewestBlocks) return trend;
  double sum_of_signs = 0;
  std::vector<double> slopes;
  slopes.reserve(values.size() * (values.size() - 1) / 2);
  for (std::size_t j = 1; j < values.size(); ++j) {
    for (std::size_t i = 0; i < j; ++i) {
      const double rise = values[j] - values[i];
      sum_of_signs += (rise > 0 ? 1 : 0) - (rise < 0 ? 1 : 0);
      if (start_s[j] > start_s[i]) slopes.push_back(rise / (start_s[j] - start_s[i]));
    }
  }
  const auto n = static_cast<double>(values.size());
  const double variance = (n * (n - 1) * (2 * n + 5) - tie_correction(values)) / 18;
  if (variance <= 0 || slopes.empty()) return trend;
  const double z = std::max(0.0, std::abs(sum_of_signs) - 1) / std::sqrt(variance);
  trend.p_value = std::erfc(z / std::sqrt(2.0));
  trend.relative_change =
      median_of(slopes) * (start_s.back() - start_s.front()) / median_of(values);
  return trend;
}

}  // namespace pareto
