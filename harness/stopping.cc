#include "harness/stopping.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "harness/student_t.h"

namespace pareto {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kHalfNormal95 = 0.98;  // 1.96 / 2: standard error of a rank is √B / 2
constexpr double kLargestRho = 0.99;
constexpr std::size_t kFewestBlocks = 8;
constexpr std::size_t kFewestProcesses = 5;
constexpr std::int64_t kFirstCheckpoint = 16;

}  // namespace

double median_of(std::span<const double> values) {
  if (values.empty()) return kNaN;
  std::vector<double> sorted(values.begin(), values.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  if (sorted.size() % 2 == 1) return *middle;
  return 0.5 * (*middle + *std::max_element(sorted.begin(), middle));
}

double lag1_autocorrelation(std::span<const double> values) {
  if (values.size() < 3) return 0;
  const double mean =
      std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  double variance = 0;
  double covariance = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    variance += (values[i] - mean) * (values[i] - mean);
    if (i > 0) covariance += (values[i] - mean) * (values[i - 1] - mean);
  }
  if (variance == 0) return 0;
  return std::clamp(covariance / variance, 0.0, kLargestRho);
}

Interval median_interval(std::span<const double> block_medians) {
  const Interval unknown{kNaN, kNaN};
  if (block_medians.size() < kFewestBlocks) return unknown;
  const auto blocks = static_cast<double>(block_medians.size());
  const double rho = lag1_autocorrelation(block_medians);
  const double effective = blocks * (1 - rho) / (1 + rho);
  const double reach = kHalfNormal95 / std::sqrt(effective);
  const double low_rank = std::floor(blocks * (0.5 - reach));
  const double high_rank = std::ceil(blocks * (0.5 + reach));
  if (low_rank < 1 || high_rank > blocks) return unknown;
  std::vector<double> sorted(block_medians.begin(), block_medians.end());
  std::sort(sorted.begin(), sorted.end());
  return {sorted[static_cast<std::size_t>(low_rank) - 1],
          sorted[static_cast<std::size_t>(high_rank) - 1]};
}

bool is_checkpoint(std::int64_t blocks) {
  return blocks >= kFirstCheckpoint && (blocks & (blocks - 1)) == 0;
}

bool is_within(const Interval& interval, double median, double precision) {
  return interval.known() && interval.lo >= median * (1 - precision) &&
         interval.hi <= median * (1 + precision);
}

Interval process_interval(std::span<const double> process_medians) {
  if (process_medians.size() < kFewestProcesses) return {kNaN, kNaN};
  std::vector<double> logs(process_medians.size());
  std::transform(process_medians.begin(), process_medians.end(), logs.begin(),
                 [](double median) { return std::log(median); });
  const MeanInterval mean = mean_interval(logs, 0.95);
  return {std::exp(mean.mean - mean.half_width), std::exp(mean.mean + mean.half_width)};
}

}  // namespace pareto
