#include "harness/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <stdexcept>

namespace pareto {
namespace {

double virtual_s = 0;

// A kernel on a virtual clock: `call_s` with relative noise, `visit_s` of preparation before a
// block and `before_sample_s` before each of its samples.
class FakeSubject : public Subject {
 public:
  FakeSubject(double call_s, double noise, double visit_s = 0, double before_sample_s = 0)
      : call_s_(call_s), noise_(noise), visit_s_(visit_s), before_sample_s_(before_sample_s) {}
  void begin_visit() override {
    virtual_s += visit_s_;
    order.push_back(this);
    ++open;
  }
  void before_sample() override { virtual_s += before_sample_s_; }
  double sample(std::int64_t batch) override {
    EXPECT_EQ(open, 1);
    const double seconds =
        static_cast<double>(batch) * call_s_ * std::exp(noise_ * normal_(random_));
    virtual_s += seconds;
    return seconds;
  }
  void end_visit() override { --open; }

  int open = 0;
  inline static std::vector<const Subject*> order;

 private:
  double call_s_;
  double noise_;
  double visit_s_;
  double before_sample_s_;
  std::mt19937_64 random_{42};
  std::normal_distribution<double> normal_;
};

MeasureOptions virtual_options() {
  virtual_s = 0;
  FakeSubject::order.clear();
  MeasureOptions options;
  options.now = [] { return virtual_s; };
  return options;
}

Series sample_one(FakeSubject& subject, const MeasureOptions& options) {
  Subject* subjects[] = {&subject};
  return sample_group(subjects, options).at(0);
}

TEST(Sampler, BatchesShortCallsUpToTenMicroseconds) {
  for (const double call_s : {1e-9, 37e-9, 1e-6, 9.9e-6}) {
    const MeasureOptions options = virtual_options();
    FakeSubject subject(call_s, 0);
    const Series series = sample_one(subject, options);
    EXPECT_GE(static_cast<double>(series.batch) * call_s, 10e-6);
    EXPECT_LE(static_cast<double>(series.batch) * call_s, 20e-6);
    EXPECT_NEAR(series.median, call_s, 1e-12 * call_s + 1e-18);
  }
  const MeasureOptions options = virtual_options();
  FakeSubject subject(1e-3, 0);
  EXPECT_EQ(sample_one(subject, options).batch, 1);
}

TEST(Sampler, StopsAtTheFirstCheckpointThatIsPrecise) {
  MeasureOptions options = virtual_options();
  FakeSubject quiet(1e-4, 0.001);
  const Series series = sample_one(quiet, options);
  EXPECT_EQ(series.stop_reason, "precision");
  EXPECT_EQ(series.seconds_per_call.size(), 64U);
  EXPECT_EQ(block_medians(series).size(), 16U);
  EXPECT_GE(series.lo, series.median * 0.98);
  EXPECT_LE(series.hi, series.median * 1.02);

  options.min_blocks = 20;
  FakeSubject again(1e-4, 0.001);
  EXPECT_EQ(block_medians(sample_one(again, options)).size(), 32U);
}

TEST(Sampler, NoiseNeedsMoreBlocks) {
  const MeasureOptions options = virtual_options();
  FakeSubject noisy(1e-4, 0.1);
  const Series series = sample_one(noisy, options);
  EXPECT_EQ(series.stop_reason, "precision");
  EXPECT_GT(block_medians(series).size(), 16U);
  EXPECT_LE(series.hi - series.lo, 0.04 * series.median);
}

TEST(Sampler, BudgetWinsButThreeSamplesAreTaken) {
  MeasureOptions options = virtual_options();
  options.budget_s = 1;
  FakeSubject slow(0.7, 0.001);
  const Series series = sample_one(slow, options);
  EXPECT_EQ(series.stop_reason, "budget");
  EXPECT_EQ(series.seconds_per_call.size(), 3U);
  EXPECT_EQ(series.block_samples, 1);
  EXPECT_TRUE(std::isnan(series.lo));
  EXPECT_NEAR(series.median, 0.7, 0.01);
}

TEST(Sampler, BlocksOfOneIfSixteenOfFourDoNotFit) {
  MeasureOptions options = virtual_options();
  options.budget_s = 2;
  options.precision = 0;
  FakeSubject fits(0.030, 0.01);  // 16 · 4 · 30 ms = 1.92 s
  EXPECT_EQ(sample_one(fits, options).block_samples, 4);
  FakeSubject does_not(0.032, 0.01);
  const Series series = sample_one(does_not, options);
  EXPECT_EQ(series.block_samples, 1);
  EXPECT_GT(series.seconds_per_call.size(), 50U);
  EXPECT_TRUE(std::isfinite(series.lo));
}

TEST(Sampler, BudgetCountsVisits) {
  MeasureOptions options = virtual_options();
  options.budget_s = 1;
  options.precision = 0;
  FakeSubject subject(1e-4, 0.01, 0.01);
  const Series series = sample_one(subject, options);
  EXPECT_EQ(series.stop_reason, "budget");
  EXPECT_LE(virtual_s, 1.0);
  EXPECT_GT(virtual_s, 0.9);
  EXPECT_NEAR(series.visits_s, 0.01 * static_cast<double>(block_medians(series).size()), 1e-9);
}

TEST(Sampler, WhatComesBeforeASampleIsNoPartOfIt) {
  const MeasureOptions options = virtual_options();
  FakeSubject subject(0.01, 0, 0, 0.003);
  const Series series = sample_one(subject, options);
  const auto samples = static_cast<double>(series.seconds_per_call.size());
  EXPECT_NEAR(series.samples_s, 0.01 * samples, 1e-9);
  EXPECT_NEAR(series.visits_s, 0.003 * samples, 1e-9);
  EXPECT_NEAR(series.start_s[1] - series.start_s[0], 0.013, 1e-6);
}

TEST(Sampler, SampleLimitEndsASeries) {
  MeasureOptions options = virtual_options();
  options.precision = 0;
  FakeSubject subject(20e-6, 0.01);
  const Series series = sample_one(subject, options);
  EXPECT_EQ(series.stop_reason, "sample_limit");
  EXPECT_EQ(series.seconds_per_call.size(), 2048U);
}

TEST(Sampler, VisitsEverySubjectOnceARoundInChangingOrder) {
  const MeasureOptions options = virtual_options();
  FakeSubject a(1e-4, 0.001);
  FakeSubject b(2e-4, 0.001);
  FakeSubject c(3e-4, 0.1);  // stays longer
  Subject* subjects[] = {&a, &b, &c};
  const std::vector<Series> all = sample_group(subjects, options);
  const auto& order = FakeSubject::order;
  std::set<std::vector<const Subject*>> seen;
  for (std::size_t round = 0; round < 16; ++round) {
    const auto begin = order.begin() + static_cast<std::ptrdiff_t>(3 + 3 * round);  // calibration
    EXPECT_EQ(std::set<const Subject*>(begin, begin + 3).size(), 3U);
    seen.insert(std::vector<const Subject*>(begin, begin + 3));
  }
  EXPECT_GE(seen.size(), 4U);  // of 6 orders; 3 or fewer in 16 rounds: p < 1e-3
  EXPECT_EQ(all[0].round.back(), 15);
  EXPECT_EQ(all[1].round.back(), 15);
  EXPECT_GT(all[2].round.back(), 15);
  for (std::size_t i = 0; i < all[0].block.size(); ++i) EXPECT_EQ(all[0].block[i], all[0].round[i]);
}

TEST(Sampler, OrderDependsOnTheSeedAlone) {
  const auto orders = [](std::uint64_t seed) {
    MeasureOptions options = virtual_options();
    options.seed = seed;
    FakeSubject a(1e-4, 0.001);
    FakeSubject b(1e-4, 0.001);
    Subject* subjects[] = {&a, &b};
    sample_group(subjects, options);
    std::vector<bool> is_a;
    for (const Subject* subject : FakeSubject::order) is_a.push_back(subject == &a);
    return is_a;
  };
  EXPECT_EQ(orders(1), orders(1));
  EXPECT_NE(orders(1), orders(2));
}

TEST(Sampler, TrendIsMarkedUnstable) {
  class Drifting : public FakeSubject {
   public:
    Drifting() : FakeSubject(1e-3, 0.001) {}
    double sample(std::int64_t batch) override {
      const double seconds = FakeSubject::sample(batch) * (1 + 0.3 * virtual_s);
      return seconds;
    }
  };
  const MeasureOptions options = virtual_options();
  Drifting drifting;
  const Series series = sample_one(drifting, options);
  EXPECT_TRUE(series.unstable);
  EXPECT_GT(series.trend_change, 0.01);
}

TEST(Sampler, ProgressReportsRoundsAndMayGiveUp) {
  const MeasureOptions options = virtual_options();
  FakeSubject subject(1e-4, 0.001);
  Subject* subjects[] = {&subject};
  std::vector<Progress> reports;
  sample_group(subjects, options, [&reports](const Progress& p) { reports.push_back(p); });
  ASSERT_EQ(reports.size(), 17U);
  EXPECT_EQ(reports.front().done, 0U);
  EXPECT_GT(reports.front().at_most_s, 1.9);
  EXPECT_EQ(reports.back().done, 1U);
  EXPECT_EQ(reports.back().at_most_s, 0);
  EXPECT_THROW(sample_group(subjects, options,
                            [](const Progress&) { throw std::runtime_error("interrupted"); }),
               std::runtime_error);
}

}  // namespace
}  // namespace pareto
