#include "reference/equal_addends.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace pareto {
namespace {

TEST(EqualAddends, PairsOfOneMagnitudeAreCounted) {
  EXPECT_EQ(equal_pairs({}), 0);
  EXPECT_EQ(equal_pairs({3}), 0);
  EXPECT_EQ(equal_pairs({1, 2, 3, 4}), 0);
  EXPECT_EQ(equal_pairs({3, 3, 3}), 1);
  // (1, −1) of ten pairs; zeros round nothing.
  EXPECT_DOUBLE_EQ(equal_pairs({1, 0, -1, 2, 0}), 0.1);
  // Two of three and one of three.
  EXPECT_DOUBLE_EQ(equal_pairs({5, 5, 7}), 1.0 / 3);
}

TEST(EqualAddends, FewChanceEqualsOfManyDoNotMatter) {
  const double one_pair = 2.0 / (4096.0 * 4095);
  EXPECT_FALSE(equal_pairs_matter(one_pair, 4096));
  EXPECT_TRUE(equal_pairs_matter(0.5, 3));
}

TEST(EqualAddends, NonFiniteValuesCountAsZeros) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_DOUBLE_EQ(equal_pairs({nan, infinity, 2, nan, 2, -infinity}), 2.0 / 30);
}

}  // namespace
}  // namespace pareto
