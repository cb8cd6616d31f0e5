#include "harness/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "harness/stopping.h"
#include "harness/student_t.h"

namespace pareto {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t kFewestRounds = 16;
constexpr std::size_t kFewestProcesses = 5;

double corrected_confidence(const CompareOptions& options) {
  return 1 - (1 - options.confidence) / std::max(1, options.comparisons);
}

// From the interval [centre ± half_width] of the log speed-up and the margin, also as a log, which
// `drift` widens for all but the verdict that nothing has changed.
Comparison judge(double centre, double half_width, double same_margin, double drift = 0) {
  const double log_margin = same_margin + drift;
  Comparison result;
  result.speedup = std::exp(centre);
  result.lo = std::exp(centre - half_width);
  result.hi = std::exp(centre + half_width);
  result.margin = std::expm1(log_margin);
  if (centre - half_width > log_margin) {
    result.verdict = SpeedVerdict::kFaster;
  } else if (centre + half_width < -log_margin) {
    result.verdict = SpeedVerdict::kSlower;
  } else if (centre - half_width >= -same_margin && centre + half_width <= same_margin) {
    result.verdict = SpeedVerdict::kSame;
  } else {
    result.reason = fmt::format("the interval [{:.4f}, {:.4f}] crosses the margin of ±{:.1f} %",
                                result.lo, result.hi, 100 * result.margin);
  }
  return result;
}

Comparison unclear(double speedup, std::int64_t count, std::string reason) {
  Comparison result;
  result.speedup = speedup;
  result.lo = kNaN;
  result.hi = kNaN;
  result.count = count;
  result.reason = std::move(reason);
  return result;
}

// How a long series was stored (stored_samples.h): one mean for every 1, 2, 4, … rounds.
struct Grain {
  std::int64_t rounds = 1;  ///< that one stored sample stands for
  bool single = true;       ///< never two samples of one round
};

Grain grain_of(const RoundSamples& samples) {
  Grain grain;
  std::int64_t gap = 0;
  for (std::size_t i = 1; i < samples.round.size(); ++i) {
    const std::int64_t step = samples.round[i] - samples.round[i - 1];
    if (step == 0) grain.single = false;
    if (step > 0 && (gap == 0 || step < gap)) gap = step;
  }
  if (gap > 0) {
    grain.rounds = static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(gap)));
  }
  return grain;
}

double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

struct Bin {
  std::int64_t round;  ///< first of the bin
  double seconds;
};

// Samples by bins of `rounds`: their median, or their mean where the other side knows only means.
std::vector<Bin> bins_of(const RoundSamples& samples, std::int64_t rounds, bool means) {
  std::vector<Bin> bins;
  std::size_t end = 0;
  for (std::size_t begin = 0; begin < samples.round.size(); begin = end) {
    const std::int64_t bin = samples.round[begin] / rounds;
    while (end < samples.round.size() && samples.round[end] / rounds == bin) ++end;
    const std::span<const double> seconds = samples.seconds.subspan(begin, end - begin);
    bins.push_back({bin * rounds, means ? mean_of(seconds) : median_of(seconds)});
  }
  return bins;
}

struct LogRatio {
  std::int64_t process;
  double value;
};

std::vector<LogRatio> paired_log_ratios(const RoundSamples& first, const RoundSamples& second) {
  const Grain a = grain_of(first);
  const Grain b = grain_of(second);
  const std::int64_t rounds = std::max(a.rounds, b.rounds);
  const bool means = a.single || b.single;
  const std::vector<Bin> bins = bins_of(second, rounds, means);
  auto other = bins.begin();
  std::vector<LogRatio> ratios;
  for (const Bin& bin : bins_of(first, rounds, means)) {
    while (other != bins.end() && other->round < bin.round) ++other;
    if (other == bins.end()) break;
    if (other->round != bin.round) continue;
    ratios.push_back({bin.round / kProcessRounds, std::log(bin.seconds / other->seconds)});
  }
  return ratios;
}

struct LogMean {
  double mean;
  double squared_error;  ///< of the mean
  double dof;
};

LogMean log_mean(std::span<const double> medians) {
  const auto count = static_cast<double>(medians.size());
  double sum = 0;
  for (const double median : medians) sum += std::log(median);
  double squares = 0;
  for (const double median : medians) {
    squares += (std::log(median) - sum / count) * (std::log(median) - sum / count);
  }
  return {sum / count, squares / (count - 1) / count, count - 1};
}

}  // namespace

std::string_view name_of(SpeedVerdict verdict) {
  switch (verdict) {
    case SpeedVerdict::kFaster:
      return "FASTER";
    case SpeedVerdict::kSlower:
      return "SLOWER";
    case SpeedVerdict::kSame:
      return "SAME";
    case SpeedVerdict::kUnclear:
      break;
  }
  return "UNCLEAR";
}

std::vector<std::int64_t> distinct_rounds(const SampleSet& samples) {
  std::vector<std::int64_t> rounds(samples.size());
  for (std::size_t i = 0; i < rounds.size(); ++i) {
    rounds[i] = samples.process[i] * kProcessRounds + samples.round[i];
  }
  return rounds;
}

Comparison compare_rounds(const RoundSamples& first, const RoundSamples& second,
                          const CompareOptions& options) {
  std::vector<double> ratios;
  std::map<std::int64_t, std::vector<double>> by_process;
  for (const LogRatio& ratio : paired_log_ratios(first, second)) {
    ratios.push_back(ratio.value);
    by_process[ratio.process].push_back(ratio.value);
  }
  const auto rounds = static_cast<std::int64_t>(ratios.size());
  if (rounds < kFewestRounds) {
    return unclear(median_of(first.seconds) / median_of(second.seconds), rounds,
                   fmt::format("{} common rounds, at least {} are needed", rounds, kFewestRounds));
  }
  if (by_process.size() >= kFewestProcesses) {
    std::vector<double> means;
    for (const auto& [process, values] : by_process) means.push_back(mean_of(values));
    const MeanInterval mean = mean_interval(means, corrected_confidence(options));
    Comparison result = judge(mean.mean, mean.half_width, std::log1p(options.margin));
    result.count = rounds;
    return result;
  }
  const double rho = lag1_autocorrelation(ratios);
  const MeanInterval mean =
      mean_interval(ratios, corrected_confidence(options), std::sqrt((1 + rho) / (1 - rho)));
  Comparison result = judge(mean.mean, mean.half_width, std::log1p(options.margin));
  result.count = rounds;
  if (by_process.size() > 1) {
    result.reason += fmt::format("{}what differs between the {} processes is not in the interval",
                                 result.reason.empty() ? "" : "; ", by_process.size());
  }
  return result;
}

double baseline_drift(std::span<const ProcessMedians> baselines) {
  double drift = 0;
  for (const ProcessMedians& baseline : baselines) {
    if (baseline.first.empty() || baseline.second.empty()) continue;
    drift =
        std::max(drift, std::abs(std::log(median_of(baseline.first) / median_of(baseline.second))));
  }
  return drift;
}

Comparison compare_processes(const ProcessMedians& medians, double drift,
                             const CompareOptions& options) {
  const std::size_t fewest = std::min(medians.first.size(), medians.second.size());
  if (fewest < kFewestProcesses) {
    return unclear(median_of(medians.first) / median_of(medians.second),
                   static_cast<std::int64_t>(fewest),
                   fmt::format("{} and {} processes, at least {} a side are needed (--processes)",
                               medians.first.size(), medians.second.size(), kFewestProcesses));
  }
  const LogMean a = log_mean(medians.first);
  const LogMean b = log_mean(medians.second);
  const double squared = a.squared_error + b.squared_error;
  // Welch–Satterthwaite; identical medians on both sides leave nothing to divide by.
  const double dof = squared > 0 ? squared * squared /
                                       (a.squared_error * a.squared_error / a.dof +
                                        b.squared_error * b.squared_error / b.dof)
                                 : a.dof + b.dof;
  const double quantile = student_t_quantile(0.5 * (1 + corrected_confidence(options)), dof);
  Comparison result =
      judge(a.mean - b.mean, quantile * std::sqrt(squared), std::log1p(options.margin), drift);
  result.count = static_cast<std::int64_t>(fewest);
  return result;
}

}  // namespace pareto
