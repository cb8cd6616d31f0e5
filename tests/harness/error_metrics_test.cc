#include "harness/error_metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace pareto {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(ErrorMetrics, KnownNumbers) {
  const std::vector<double> want = {3, 0, 4};
  const std::vector<double> got = {3, 0.5, 4};
  const ErrorMetrics metrics = error_metrics(got, want);
  EXPECT_DOUBLE_EQ(metrics.max_abs, 0.5);
  EXPECT_DOUBLE_EQ(metrics.rms, 0.5 / std::sqrt(3.0));
  EXPECT_DOUBLE_EQ(metrics.rel_fro, 0.1);
  EXPECT_DOUBLE_EQ(metrics.sqnr_db, 20);
  EXPECT_DOUBLE_EQ(metrics.cosine, 25 / (5 * std::sqrt(25.25)));
}

TEST(ErrorMetrics, NothingDiffers) {
  const std::vector<double> same = {1, -2};
  const ErrorMetrics metrics = error_metrics(same, same);
  EXPECT_EQ(metrics.rel_fro, 0);
  EXPECT_EQ(metrics.sqnr_db, kInfinity);
  EXPECT_DOUBLE_EQ(metrics.cosine, 1);
}

TEST(ErrorMetrics, EmptyAndZeroAreNoError) {
  EXPECT_EQ(error_metrics({}, {}).rel_fro, 0);
  const std::vector<double> zeros = {0, 0};
  EXPECT_EQ(error_metrics(zeros, zeros).cosine, 1);
  const std::vector<double> ones = {1, 1};
  EXPECT_EQ(error_metrics(ones, zeros).rel_fro, kInfinity);
  EXPECT_TRUE(std::isnan(error_metrics(zeros, ones).cosine));
}

TEST(ErrorMetrics, AgreeingNonFiniteElementsAreLeftOut) {
  const std::vector<double> want = {kNan, kInfinity, 2};
  const std::vector<double> got = {kNan, kInfinity, 3};
  EXPECT_DOUBLE_EQ(error_metrics(got, want).rel_fro, 0.5);
}

TEST(ErrorMetrics, MisplacedNonFiniteElementsAreInfinitelyWrong) {
  const std::vector<double> want = {1, kInfinity};
  for (const double bad : {1.0, -kInfinity, kNan}) {
    const std::vector<double> got = {1, bad};
    EXPECT_EQ(error_metrics(got, want).rel_fro, kInfinity) << bad;
    EXPECT_EQ(error_metrics(got, want).sqnr_db, -kInfinity) << bad;
  }
}

}  // namespace
}  // namespace pareto
