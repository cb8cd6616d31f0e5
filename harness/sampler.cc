#include "harness/sampler.h"

#include <algorithm>
#include <cmath>

#include "harness/stopping.h"
#include "harness/trend.h"

namespace pareto {
namespace {

constexpr std::int32_t kBlockSamples = 4;
constexpr int kBlocksThatShouldFit = 16;
constexpr std::size_t kFewestSamples = 3;

// One subject with what was measured of it so far.
struct Course {
  Subject* subject = nullptr;
  Series series;
  std::vector<double> medians;  ///< of the blocks
  std::vector<double> clock_hz;
  double spent_s = 0;
  double visit_s = 0;  ///< of the last visit
  bool done = false;
};

class Group {
 public:
  Group(std::span<Subject* const> subjects, const MeasureOptions& options,
        const std::function<void(const Progress&)>& progress)
      : options_(options), progress_(progress), random_(options.seed), begin_s_(options.now()) {
    courses_.resize(subjects.size());
    for (std::size_t i = 0; i < subjects.size(); ++i) courses_[i].subject = subjects[i];
  }

  std::vector<Series> run() {
    for (Course& course : courses_) calibrate(course);
    report(0);
    std::vector<Course*> active;
    for (Course& course : courses_) active.push_back(&course);
    for (std::int32_t round = 0; !active.empty(); ++round) {
      shuffle(active);
      for (Course* course : active) visit(*course, round);
      std::erase_if(active, [](const Course* course) { return course->done; });
      report(round + 1);
    }
    std::vector<Series> all;
    for (Course& course : courses_) {
      summarize(course.series);
      course.series.core_clock_hz = median_of(course.clock_hz);
      all.push_back(std::move(course.series));
    }
    return all;
  }

 private:
  // splitmix64: the order of visits must not depend on the standard library at hand.
  std::uint64_t next_random() {
    std::uint64_t z = (random_ += 0x9e3779b97f4a7c15U);
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  void shuffle(std::vector<Course*>& courses) {
    for (std::size_t i = courses.size(); i > 1; --i) {
      std::swap(courses[i - 1], courses[next_random() % i]);
    }
  }

  // The shortest of a few samples, so that a batch chosen by it is long enough also later.
  double shortest(Subject& subject, std::int64_t batch) const {
    constexpr int kRepeats = 3;
    constexpr double kLongEnough_s = 1e-3;  // beyond this one more says nothing new
    double best = subject.sample(batch);
    for (int i = 1; i < kRepeats && best < kLongEnough_s; ++i) {
      best = std::min(best, subject.sample(batch));
    }
    return best;
  }

  void calibrate(Course& course) const {
    constexpr double kMargin = 1.1;  // clocks rise after the first calls
    constexpr double kLargestStep = 100;
    constexpr std::int64_t kLargestBatch = std::int64_t{1} << 20U;  // of calls that do nothing
    const double wanted_s = std::max(options_.sample_s, course.subject->shortest_sample_s());
    const double start_s = options_.now();
    course.subject->begin_visit();
    const double visited_s = options_.now() - start_s;
    std::int64_t batch = 1;
    double sample_s = shortest(*course.subject, batch);
    while (sample_s < wanted_s && batch < kLargestBatch) {
      const double step = std::min(kMargin * wanted_s / sample_s, kLargestStep);
      batch = std::max(batch + 1,
                       static_cast<std::int64_t>(std::ceil(static_cast<double>(batch) * step)));
      sample_s = shortest(*course.subject, batch);
    }
    course.subject->end_visit();
    course.series.batch = batch;
    const double blocks_s = kBlocksThatShouldFit * (visited_s + kBlockSamples * sample_s);
    course.series.block_samples = blocks_s > options_.budget_s ? 1 : kBlockSamples;
    course.visit_s = visited_s + course.series.block_samples * sample_s;
    course.spent_s = options_.now() - start_s;
  }

  void visit(Course& course, std::int32_t round) const {
    Series& series = course.series;
    const double enter_s = options_.now();
    course.subject->begin_visit();
    const std::size_t first = series.seconds_per_call.size();
    double samples_s = 0;
    for (std::int32_t i = 0; i < series.block_samples; ++i) {
      course.subject->before_sample();
      const double sample_start_s = options_.now();
      const double seconds = course.subject->sample(series.batch);
      series.seconds_per_call.push_back(seconds / static_cast<double>(series.batch));
      series.start_s.push_back(static_cast<float>(sample_start_s - begin_s_));
      series.block.push_back(static_cast<std::int32_t>(course.medians.size()));
      series.round.push_back(round);
      samples_s += options_.now() - sample_start_s;
    }
    course.subject->end_visit();
    if (options_.core_clock_hz) course.clock_hz.push_back(options_.core_clock_hz());
    course.medians.push_back(median_of(std::span(series.seconds_per_call).subspan(first)));
    course.visit_s = options_.now() - enter_s;
    course.spent_s += course.visit_s;
    series.samples_s += samples_s;
    series.visits_s += course.visit_s - samples_s;
    decide(course);
  }

  void decide(Course& course) const {
    Series& series = course.series;
    const auto blocks = static_cast<std::int64_t>(course.medians.size());
    const std::size_t samples = series.seconds_per_call.size();
    if (is_checkpoint(blocks) && blocks >= options_.min_blocks &&
        is_within(median_interval(course.medians), median_of(course.medians), options_.precision)) {
      series.stop_reason = "precision";
    } else if (samples >= kFewestSamples && course.spent_s + course.visit_s > options_.budget_s) {
      series.stop_reason = "budget";
    } else if (static_cast<std::int64_t>(samples) + series.block_samples > options_.max_samples) {
      series.stop_reason = "sample_limit";
    }
    course.done = !series.stop_reason.empty();
  }

  void report(std::int64_t round) const {
    if (!progress_) return;
    Progress progress{.round = round, .subjects = courses_.size()};
    progress.elapsed_s = options_.now() - begin_s_;
    for (const Course& course : courses_) {
      if (course.done) {
        ++progress.done;
      } else {
        progress.at_most_s += std::max(0.0, options_.budget_s - course.spent_s);
      }
    }
    progress_(progress);
  }

  const MeasureOptions& options_;
  const std::function<void(const Progress&)>& progress_;
  std::uint64_t random_;
  double begin_s_;
  std::vector<Course> courses_;
};

}  // namespace

std::vector<double> block_medians(const Series& series) {
  std::vector<double> medians;
  for (std::size_t begin = 0; begin < series.block.size();) {
    std::size_t end = begin;
    while (end < series.block.size() && series.block[end] == series.block[begin]) ++end;
    medians.push_back(median_of(std::span(series.seconds_per_call).subspan(begin, end - begin)));
    begin = end;
  }
  return medians;
}

void summarize(Series& series) {
  const std::vector<double> medians = block_medians(series);
  std::vector<double> starts;
  for (std::size_t i = 0; i < series.block.size(); ++i) {
    if (i == 0 || series.block[i] != series.block[i - 1]) starts.push_back(series.start_s[i]);
  }
  series.median = median_of(medians);
  const Interval interval = median_interval(medians);
  series.lo = interval.lo;
  series.hi = interval.hi;
  const Trend trend = trend_of(starts, medians);
  series.trend_p = trend.p_value;
  series.trend_change = trend.relative_change;
  series.unstable = trend.unstable();
}

std::vector<Series> sample_group(std::span<Subject* const> subjects, const MeasureOptions& options,
                                 const std::function<void(const Progress&)>& progress) {
  return Group(subjects, options, progress).run();
}

}  // namespace pareto
