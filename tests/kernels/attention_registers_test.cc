// The register tiles of attention must keep their sums: no vector register is stored to the stack
// anywhere in them.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "tests/kernels/spills.h"

namespace pareto {
namespace {

constexpr std::array<const char*, 3> kHotFunctions = {"score_tile<", "value_tile<",
                                                      "product_tile<"};

TEST(AttentionRegisters, HotTilesDoNotSpill) {
  if (const std::string reason = spills_not_countable(); !reason.empty()) GTEST_SKIP() << reason;
  const std::map<std::string, int> spills = spills_of(kHotFunctions);
  // Every height and width, scores and values: 24 shapes of two AVX-512 kernels, 12 of AVX2; and
  // what those three use for both on few keys.
  EXPECT_GE(spills.size(), 3U * (2 * 24 + 12));
  for (const auto& [name, count] : spills) EXPECT_EQ(count, 0) << name;
}

// Tile products are issued in the middle of this loop.
TEST(AttentionRegisters, WeightsBesideTilesDoNotSpill) {
  if (const std::string reason = spills_not_countable(); !reason.empty()) GTEST_SKIP() << reason;
  constexpr std::array<const char*, 1> kLoop = {
      "weigh_squares<pareto::AttentionAmxBf16<pareto::AmxNative>"};
  const std::map<std::string, int> spills = spills_of(kLoop);
  EXPECT_EQ(spills.size(), 1U);
  for (const auto& [name, count] : spills) EXPECT_EQ(count, 0) << name;
}

}  // namespace
}  // namespace pareto
