#include "harness/stopping.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace pareto {
namespace {

// Block medians around 1 with standard deviation 0.05 and lag-1 autocorrelation rho.
std::vector<double> correlated(std::mt19937_64& random, int blocks, double rho) {
  std::normal_distribution<double> normal;
  std::vector<double> series(static_cast<std::size_t>(blocks));
  double state = normal(random);
  for (double& value : series) {
    value = 1 + 0.05 * state;
    state = rho * state + std::sqrt(1 - rho * rho) * normal(random);
  }
  return series;
}

bool covers_one(const Interval& interval) { return interval.lo <= 1 && 1 <= interval.hi; }

TEST(Stopping, MedianOfOddEvenAndNone) {
  EXPECT_EQ(median_of(std::vector<double>{3, 1, 2}), 2);
  EXPECT_EQ(median_of(std::vector<double>{4, 1, 2, 3}), 2.5);
  EXPECT_TRUE(std::isnan(median_of({})));
}

TEST(Stopping, AutocorrelationIsClipped) {
  std::vector<double> alternating;
  std::vector<double> ramp;
  for (int i = 0; i < 4000; ++i) {
    alternating.push_back(i % 2);
    ramp.push_back(i);
  }
  EXPECT_EQ(lag1_autocorrelation(alternating), 0);
  EXPECT_EQ(lag1_autocorrelation(ramp), 0.99);
  EXPECT_EQ(lag1_autocorrelation(std::vector<double>{1, 1, 1, 1}), 0);
  std::mt19937_64 random(1);
  // Standard error of ρ at n = 20000 is √((1−ρ²)/n) = 0.006; four of them.
  EXPECT_NEAR(lag1_autocorrelation(correlated(random, 20000, 0.5)), 0.5, 0.025);
}

TEST(Stopping, RanksFollowTheFormula) {
  std::vector<double> blocks;
  for (int i = 1; i <= 16; ++i) blocks.push_back(i % 2 == 0 ? i : 17 - i);  // ρ clips to 0
  ASSERT_EQ(lag1_autocorrelation(blocks), 0);
  const Interval interval = median_interval(blocks);  // ⌊16(.5 − .98/4)⌋ = 4, ⌈11.92⌉ = 12
  EXPECT_EQ(interval.lo, 4);
  EXPECT_EQ(interval.hi, 12);
}

TEST(Stopping, TooFewOrTooAlikeBlocksGiveNoInterval) {
  EXPECT_FALSE(median_interval(std::vector<double>(7, 1.0)).known());
  EXPECT_TRUE(median_interval(std::vector<double>(8, 1.0)).known());
  std::vector<double> ramp;
  for (int i = 0; i < 16; ++i) ramp.push_back(i);  // ρ = .82 leaves B_eff = 1.6
  EXPECT_FALSE(median_interval(ramp).known());
}

TEST(Stopping, CheckpointsDouble) {
  std::vector<int> points;
  for (int blocks = 0; blocks <= 128; ++blocks) {
    if (is_checkpoint(blocks)) points.push_back(blocks);
  }
  EXPECT_EQ(points, (std::vector<int>{16, 32, 64, 128}));
}

TEST(Stopping, PrecisionNeedsBothEnds) {
  EXPECT_TRUE(is_within({0.99, 1.01}, 1, 0.01 + 1e-12));
  EXPECT_FALSE(is_within({0.98, 1.01}, 1, 0.015));
  EXPECT_FALSE(is_within({0.99, 1.02}, 1, 0.015));
  EXPECT_FALSE(is_within({std::nan(""), std::nan("")}, 1, 0.5));
}

// Replications of the sequential rule: take blocks up to a checkpoint whose interval is within
// ±2 %, at most 512. The naive rule ignores the autocorrelation.
double coverage(double rho, bool naive) {
  constexpr int kReplications = 400;
  std::mt19937_64 random(7);
  int covered = 0;
  for (int i = 0; i < kReplications; ++i) {
    const std::vector<double> all = correlated(random, 512, rho);
    Interval interval{1, 0};
    for (std::size_t blocks = 16; blocks <= 512; blocks *= 2) {
      const std::span<const double> seen = std::span(all).first(blocks);
      if (naive) {
        std::vector<double> sorted(seen.begin(), seen.end());
        std::sort(sorted.begin(), sorted.end());
        const double n = static_cast<double>(blocks);
        interval = {sorted[static_cast<std::size_t>(n / 2 - 0.98 * std::sqrt(n)) - 1],
                    sorted[static_cast<std::size_t>(std::ceil(n / 2 + 0.98 * std::sqrt(n))) - 1]};
      } else {
        interval = median_interval(seen);
      }
      if (is_within(interval, median_of(seen), 0.02)) break;
    }
    covered += covers_one(interval) ? 1 : 0;
  }
  return static_cast<double>(covered) / kReplications;
}

// Binomial standard error at 400 replications of 95 %: 1.1 %; three of them below 95 % is 91.7 %.
TEST(Stopping, CoversIndependentBlocks) { EXPECT_GE(coverage(0, false), 0.917); }

TEST(Stopping, CoversStronglyCorrelatedBlocksWhereTheNaiveRuleFails) {
  EXPECT_GE(coverage(0.9, false), 0.917);
  EXPECT_LE(coverage(0.9, true), 0.6);
}

TEST(Stopping, ProcessIntervalIsATIntervalOfLogs) {
  EXPECT_FALSE(process_interval(std::vector<double>{1, 2, 3, 4}).known());
  // Logs −2…2: mean 0, standard error √(2.5/5), t(.975, 4) = 2.776445.
  std::vector<double> medians;
  for (int i = -2; i <= 2; ++i) medians.push_back(std::exp(i));
  const Interval interval = process_interval(medians);
  EXPECT_NEAR(std::log(interval.hi), 2.776445 * std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(std::log(interval.lo), -2.776445 * std::sqrt(0.5), 1e-6);
}

}  // namespace
}  // namespace pareto
