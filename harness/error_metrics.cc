#include "harness/error_metrics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace pareto {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool agree_non_finite(double got, double want) {
  return (std::isnan(got) && std::isnan(want)) || (std::isinf(want) && got == want);
}

}  // namespace

ErrorMetrics error_metrics(std::span<const double> got, std::span<const double> want) {
  ErrorMetrics result;
  double error2 = 0;
  double got2 = 0;
  double want2 = 0;
  double dot = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (agree_non_finite(got[i], want[i])) continue;
    if (!std::isfinite(got[i]) || !std::isfinite(want[i])) {
      return {kInfinity, kInfinity, kInfinity, -kInfinity,
              std::numeric_limits<double>::quiet_NaN()};
    }
    const double error = got[i] - want[i];
    result.max_abs = std::max(result.max_abs, std::abs(error));
    error2 += error * error;
    got2 += got[i] * got[i];
    want2 += want[i] * want[i];
    dot += got[i] * want[i];
    ++count;
  }
  if (count > 0) result.rms = std::sqrt(error2 / static_cast<double>(count));
  if (error2 > 0) result.rel_fro = want2 > 0 ? std::sqrt(error2 / want2) : kInfinity;
  result.sqnr_db = -20 * std::log10(result.rel_fro);
  if (got2 > 0 || want2 > 0) result.cosine = dot / (std::sqrt(got2) * std::sqrt(want2));
  return result;
}

}  // namespace pareto
