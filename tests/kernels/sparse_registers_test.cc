// The tile functions of sparse layers must keep their sums: no vector register is stored to the
// stack anywhere in them.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "tests/kernels/spills.h"

namespace pareto {
namespace {

constexpr std::array<const char*, 8> kHotFunctions = {
    "dense_tile<",   "dense_tile_apart<", "bsr_tile<",      "two_to_four_tile<",
    "sliced_block<", "sell_slice<",       "accumulate_as<", "multiply_chunk<pareto::AmxNative"};

TEST(SparseRegisters, HotTilesDoNotSpill) {
  if (const std::string reason = spills_not_countable(); !reason.empty()) GTEST_SKIP() << reason;
  const std::map<std::string, int> spills = spills_of(kHotFunctions);
  // Dense tiles of bsr for three dtypes, one and two vectors and every height, and those of 2to4;
  // chunks of AMX one and two tiles high.
  EXPECT_GE(spills.size(), 3U * 2 * 6 + 3 * 4 + 3U * 6 + 3 * 4 + 2);
  for (const auto& [name, count] : spills) EXPECT_EQ(count, 0) << name;
}

}  // namespace
}  // namespace pareto
