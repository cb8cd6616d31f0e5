// What the 2^x and the logarithm of the attention kernels promise on every instruction set.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace pareto {

inline void expect_exp2(float (*exp2)(float), double limit) {
  EXPECT_EQ(exp2(0.0F), 1.0F);
  EXPECT_EQ(exp2(-std::numeric_limits<float>::infinity()), 0.0F);
  EXPECT_EQ(exp2(-400.0F), 0.0F);
  EXPECT_TRUE(std::isnan(exp2(std::numeric_limits<float>::quiet_NaN())));
  double worst = 0;
  for (std::int64_t i = 0; i < 400000; ++i) {
    const auto x = static_cast<float>(static_cast<double>(i) * -3.1e-4);
    const double want = std::exp2(static_cast<double>(x));
    worst = std::max(worst, std::abs(exp2(x) - want) / want);
  }
  EXPECT_LT(worst, limit);
}

// Sums of weights lie in [1, keys].
inline void expect_log(float (*log)(float)) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(log(1.0F), 0.0F);
  EXPECT_EQ(log(0.0F), -kInfinity);
  EXPECT_EQ(log(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(log(std::numeric_limits<float>::quiet_NaN())));
  double worst = 0;
  for (std::int64_t i = 0; i < 400000; ++i) {
    const auto x = static_cast<float>(1.0 + static_cast<double>(i) * 1.6e-4);
    const double want = std::log(static_cast<double>(x));
    worst = std::max(worst, std::abs(log(x) - want) / std::max(want, 0x1p-4));
  }
  EXPECT_LT(worst, 0x1p-22);
}

}  // namespace pareto
