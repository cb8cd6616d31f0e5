#include "harness/student_t.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace pareto {
namespace {

// Printed tables have three decimals; closed forms are used where there are any.
TEST(StudentT, QuantilesAgreeWithTables) {
  struct Row {
    double p, dof, t;
  };
  const std::vector<Row> table{{0.975, 1, 12.706},  {0.975, 4, 2.776}, {0.975, 15, 2.131},
                               {0.995, 9, 3.250},   {0.95, 30, 1.697}, {0.9995, 5, 6.869},
                               {0.975, 120, 1.980}, {0.999, 60, 3.232}};
  for (const Row& row : table) {
    EXPECT_NEAR(student_t_quantile(row.p, row.dof), row.t, 0.0006) << row.p << " " << row.dof;
    EXPECT_NEAR(student_t_quantile(1 - row.p, row.dof), -row.t, 0.0006);
  }
}

// dof 1 is Cauchy, dof 2 has t = (2p − 1)/√(2p(1 − p)), many dof is the normal distribution.
TEST(StudentT, QuantilesAgreeWithClosedForms) {
  for (const double p : {1e-6, 0.001, 0.2, 0.5, 0.7, 0.99, 0.99999}) {
    const double cauchy = std::tan(std::numbers::pi * (p - 0.5));
    EXPECT_NEAR(student_t_quantile(p, 1), cauchy, 1e-9 * (1 + std::abs(cauchy)));
    const double two = (2 * p - 1) / std::sqrt(2 * p * (1 - p));
    EXPECT_NEAR(student_t_quantile(p, 2), two, 1e-9 * (1 + std::abs(two)));
  }
  EXPECT_NEAR(student_t_quantile(0.975, 1e8), 1.959963985, 1e-6);
}

TEST(StudentT, CdfInvertsTheQuantile) {
  for (const double dof : {1.0, 3.0, 15.5, 200.0}) {
    for (double p = 0.0005; p < 1; p += 0.0333) {
      EXPECT_NEAR(student_t_cdf(student_t_quantile(p, dof), dof), p, 1e-11);
    }
  }
}

TEST(StudentT, IncompleteBetaAgreesWithPolynomials) {
  for (const double x : {0.0, 0.1, 0.5, 0.93, 1.0}) {
    EXPECT_NEAR(incomplete_beta(2, 1, x), x * x, 1e-13);
    EXPECT_NEAR(incomplete_beta(1, 3, x), 1 - std::pow(1 - x, 3), 1e-13);
    EXPECT_NEAR(incomplete_beta(2, 2, x), x * x * (3 - 2 * x), 1e-13);
  }
}

TEST(StudentT, MeanIntervalOfKnownValues) {
  const MeanInterval mean = mean_interval(std::vector<double>{1, 2, 3, 4, 5}, 0.95);
  EXPECT_DOUBLE_EQ(mean.mean, 3);
  EXPECT_NEAR(mean.half_width, 2.776445 * std::sqrt(0.5), 1e-6);
  EXPECT_TRUE(std::isnan(mean_interval(std::vector<double>{1}, 0.95).half_width));
}

}  // namespace
}  // namespace pareto
