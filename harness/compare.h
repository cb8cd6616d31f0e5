// Which of two is faster, with the interval of the ratio. Pure functions; times in seconds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/case_file.h"

namespace pareto {

/// Of the second against the first.
enum class SpeedVerdict : std::uint8_t { kFaster, kSlower, kSame, kUnclear };
/// "FASTER", "SLOWER", "SAME", "UNCLEAR".
std::string_view name_of(SpeedVerdict verdict);

struct Comparison {
  SpeedVerdict verdict = SpeedVerdict::kUnclear;
  double speedup = 0;  ///< time of the first ÷ time of the second (geometric mean, or of medians)
  double lo = 0;       ///< interval of the speed-up; NaN: not known
  double hi = 0;
  double margin = 0;       ///< log-free: 0.02 means that 1/1.02 … 1.02 counts as the same
  std::int64_t count = 0;  ///< rounds paired, or processes on the smaller side
  std::string reason;      ///< why UNCLEAR, in words; else empty
};

struct CompareOptions {
  double margin = 0.02;
  double confidence = 0.95;
  int comparisons = 1;  ///< printed by this command: Bonferroni
};

/// One variant's samples of one group run.
struct RoundSamples {
  std::span<const double> seconds;      ///< per call, one per sample
  std::span<const std::int64_t> round;  ///< of distinct_rounds(), same count
};

/// Round of every sample plus kProcessRounds times its process; ascending.
std::vector<std::int64_t> distinct_rounds(const SampleSet& samples);
inline constexpr std::int64_t kProcessRounds = std::int64_t{1} << 32;

/// Inside one file: t interval of d_r = log(median of first in round r ÷ median of second) over the
/// rounds that both have (at least 16, else UNCLEAR), standard error × √((1+ρ)/(1−ρ)), ρ the lag-1
/// autocorrelation of d. Where a side has one sample a round, or for several rounds, as long series
/// are stored, both are brought to such means. From 5 processes on, the t interval is that of their
/// mean d; of 2 to 4 the reason says that what differs between them is not in the interval.
Comparison compare_rounds(const RoundSamples& first, const RoundSamples& second,
                          const CompareOptions& options);

/// Medians of one case, one per process, on either side of a comparison across files.
struct ProcessMedians {
  std::vector<double> first;
  std::vector<double> second;
};

/// Largest |log ratio| of medians that unchanged baselines show between two files; 0 without any.
double baseline_drift(std::span<const ProcessMedians> baselines);

/// Across files: Welch's t interval on log process medians, at least 5 processes a side, else
/// UNCLEAR. FASTER and SLOWER must pass the margin and `drift` (of baseline_drift), SAME the margin
/// alone.
Comparison compare_processes(const ProcessMedians& medians, double drift,
                             const CompareOptions& options);

}  // namespace pareto
