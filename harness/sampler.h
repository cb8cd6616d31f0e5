// The sampling loop: variants of one group in turn, in blocks, until each is precise or its budget
// is spent. It knows nothing of ops; a Subject is whatever can be called and timed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "harness/clock.h"

namespace pareto {

/// One case as the sampler sees it. Exceptions end the group and pass through.
class Subject {
 public:
  virtual ~Subject() = default;
  /// Untimed, before each block: swap contents, poison outputs, one untimed call.
  virtual void begin_visit() = 0;
  /// Untimed, before each sample: checks at moments that a kernel cannot foresee.
  virtual void before_sample() {}
  /// Seconds that `batch` back-to-back calls took, by a clock of the subject's own.
  virtual double sample(std::int64_t batch) = 0;
  /// Untimed, after each block: compare what was poisoned.
  virtual void end_visit() = 0;
  /// Where that is longer than MeasureOptions::sample_s.
  [[nodiscard]] virtual double shortest_sample_s() const { return 0; }
};

struct MeasureOptions {
  double precision = 0.02;  ///< half width of the interval, relative to the median
  double budget_s = 2;      ///< wall time per case, visits included
  int min_blocks = 16;
  std::uint64_t seed = 1;   ///< of the order of visits
  double sample_s = 10e-6;  ///< a sample lasts at least this long
  /// Then the series ends whatever its precision: what a result file stores of one case.
  std::int64_t max_samples = 2048;
  std::function<double()> now = now_s;
  /// Effective frequency of the calling thread's core, read once per visit; empty: not recorded.
  std::function<double()> core_clock_hz;
};

/// What was measured of one subject. A block is the samples of one visit; each round visits every
/// subject that is still in it once, so that rounds pair the blocks of different subjects.
struct Series {
  std::vector<double> seconds_per_call;  ///< per sample, all of them, in order
  std::vector<std::int32_t> block;       ///< per sample, from 0
  std::vector<std::int32_t> round;       ///< per sample, from 0, counted for the group
  std::vector<float> start_s;            ///< per sample, from the group's first visit
  std::int64_t batch = 1;                ///< calls per sample
  std::int32_t block_samples = 4;        ///< samples per block
  double median = 0;                     ///< of the block medians, seconds per call
  double lo = 0;                         ///< 95 % interval of the median; NaN: not known
  double hi = 0;
  std::string stop_reason;   ///< "precision", "budget" or "sample_limit"
  bool unstable = false;     ///< a trend: see trend.h
  double trend_p = 1;        ///< Mann–Kendall
  double trend_change = 0;   ///< Sen slope × duration ÷ median
  double core_clock_hz = 0;  ///< median over the visits; NaN: not recorded
  double visits_s = 0;       ///< wall time of begin_visit, before_sample and end_visit
  double samples_s = 0;      ///< wall time of the samples
};

/// Where a group stands; passed after every round and after the calibration (round 0).
struct Progress {
  std::int64_t round = 0;
  std::size_t subjects = 0;
  std::size_t done = 0;  ///< subjects that have left
  double elapsed_s = 0;
  double at_most_s = 0;  ///< time left if every subject uses its whole budget
};

/// Medians of the blocks of a series, in order.
std::vector<double> block_medians(const Series& series);

/// Fills in median, interval and trend from the samples; `Series::stop_reason` stays.
void summarize(Series& series);

/// Round-robin over `subjects`, in random order each round, by the rules of measurement: batches so
/// that a sample lasts `sample_s`; blocks of 4 samples (of 1 if 16 blocks of 4 do not fit into the
/// budget); stops at B = 16, 32, 64, … ≥ min_blocks blocks when precise, or at the budget, after at
/// least 3 samples. `progress` may be empty; it may throw to give up.
std::vector<Series> sample_group(std::span<Subject* const> subjects, const MeasureOptions& options,
                                 const std::function<void(const Progress&)>& progress = {});

}  // namespace pareto
