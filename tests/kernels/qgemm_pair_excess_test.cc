// Codes whose pairs vpmaddubsw cannot hold: what is moved apart, and what stays.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdlib>

#include "kernels/qgemm/pair_excess.h"

namespace pareto {
namespace {

TEST(PairExcess, EveryPairOfCodesFitsAfterwardsAndNothingIsLost) {
  PairExcess excess(1, 4);
  for (int x0 = -128; x0 <= 127; ++x0) {
    for (int x1 = -128; x1 <= 127; ++x1) {
      // Both pairs of the step, in both orders.
      const std::array<int, 4> given = {x0, x1, x1, x0};
      std::array<std::int16_t, 4> codes{};
      for (int i = 0; i < 4; ++i) codes[i] = static_cast<std::int16_t>(given[i]);
      excess.clear(0);
      ASSERT_TRUE(excess.take(0, 0, codes.data()));
      std::array<int, 4> apart{};
      for (const PairExcess::Entry& entry : excess.row(0)) {
        for (int i = 0; i < 4; ++i) apart[i] = entry.codes[i];
      }
      for (int i = 0; i < 4; i += 2) {
        for (const int w0 : {0, 255}) {
          for (const int w1 : {0, 255}) {
            EXPECT_LE(std::abs(w0 * codes[i] + w1 * codes[i + 1]), 32767) << x0 << ' ' << x1;
            EXPECT_LE(std::abs(w0 * apart[i] + w1 * apart[i + 1]), 32767) << x0 << ' ' << x1;
          }
        }
      }
      for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(codes[i] + apart[i], given[i]) << x0 << ' ' << x1;
        EXPECT_LE(std::abs(codes[i]), 128) << x0 << ' ' << x1;
      }
    }
  }
}

TEST(PairExcess, KeepsEntriesInOrderUntilThereIsNoRoom) {
  PairExcess excess(2, 64);
  excess.clear(1);
  std::int64_t taken = 0;
  for (std::int64_t step = 0; step < 16; ++step) {
    std::array<std::int16_t, 4> large = {100, 100, 0, 100};
    if (!excess.take(1, step, large.data())) break;
    ++taken;
  }
  EXPECT_EQ(taken, 5);
  ASSERT_EQ(excess.row(1).size(), 5U);
  EXPECT_EQ(excess.row(1)[4].step, 4);
  EXPECT_EQ(excess.row(1)[4].codes[0], 72);
  EXPECT_TRUE(excess.row(0).empty());
}

}  // namespace
}  // namespace pareto
