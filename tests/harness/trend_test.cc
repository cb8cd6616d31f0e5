#include "harness/trend.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace pareto {
namespace {

struct Data {
  std::vector<double> start_s;
  std::vector<double> value;
};

// `drift`: relative change from the first block to the last; noise of 1 %.
Data drifting(std::uint64_t seed, int blocks, double drift) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Data data;
  for (int i = 0; i < blocks; ++i) {
    data.start_s.push_back(0.1 * i);
    data.value.push_back(2e-3 * (1 + drift * i / (blocks - 1) + 0.01 * normal(random)));
  }
  return data;
}

TEST(Trend, MatchesAHandCount) {
  // 1 3 2 4 5 6 7 8: one of 28 pairs falls, S = 26, var = 8·7·21/18, z = 25/√var.
  const std::vector<double> value{1, 3, 2, 4, 5, 6, 7, 8};
  const std::vector<double> start{0, 1, 2, 3, 4, 5, 6, 7};
  const Trend trend = trend_of(start, value);
  EXPECT_NEAR(trend.p_value, std::erfc(25 / std::sqrt(8 * 7 * 21 / 18.0) / std::sqrt(2.0)), 1e-12);
  EXPECT_NEAR(trend.relative_change, 1.0 * 7 / 4.5, 1e-12);  // median slope 1, median value 4.5
}

TEST(Trend, FindsADriftOfFivePercent) {
  int found = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Data data = drifting(seed, 32, 0.05);
    const Trend trend = trend_of(data.start_s, data.value);
    found += trend.unstable() && trend.relative_change > 0 ? 1 : 0;
  }
  EXPECT_GE(found, 95);
}

// α = 1 %: more than 6 false alarms of 100 have a probability below 1e-3.
TEST(Trend, SteadySeriesAreStable) {
  int alarms = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Data data = drifting(seed, 32, 0);
    alarms += trend_of(data.start_s, data.value).unstable() ? 1 : 0;
  }
  EXPECT_LE(alarms, 6);
}

TEST(Trend, SignificantButTinyDriftIsStable) {
  Data data = drifting(3, 64, 0);
  for (std::size_t i = 0; i < data.value.size(); ++i) {
    data.value[i] = 1 + 0.005 * static_cast<double>(i) / 63;
  }
  const Trend trend = trend_of(data.start_s, data.value);
  EXPECT_LT(trend.p_value, 0.01);
  EXPECT_FALSE(trend.unstable());
}

TEST(Trend, TiesAndShortSeriesSayNothing) {
  const std::vector<double> start{0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(trend_of(start, std::vector<double>(8, 1.0)).p_value, 1);
  EXPECT_EQ(trend_of(std::span(start).first(3), std::vector<double>{1, 2, 3}).p_value, 1);
}

}  // namespace
}  // namespace pareto
