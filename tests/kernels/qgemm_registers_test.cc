// The tile functions must keep their accumulators: no vector register is stored to the stack
// anywhere in them.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "tests/kernels/spills.h"

namespace pareto {
namespace {

constexpr std::array<const char*, 10> kHotFunctions = {
    "dense_tile<",         "dword_tile_avx512<", "group_tile_avx512<", "coded_tile_avx512<",
    "scaled_tile_avx512<", "step_tile_avx2<",    "half_tile_avx2<",    "coded_tile_avx2<",
    "add_group_panels<",   "row_of_panels_avx2<"};

TEST(QgemmRegisters, HotTilesDoNotSpill) {
  if (const std::string reason = spills_not_countable(); !reason.empty()) GTEST_SKIP() << reason;
  const std::map<std::string, int> spills = spills_of(kHotFunctions);
  // 5 kinds of dense panel, whole with 0 to 2 lines fetched ahead, half and quarter, and 3 of avx2,
  // whole with 0 and 1, and half; 2 dword types, 4 group formats and 17 coded ones, with and
  // without prefetch, 9 scaled formats; avx2's three, of which one has halves and one is also
  // fetched less far ahead, its 14 coded ones, a row of 1 to 3 panels, and its 4 group formats,
  // fetching far, near and not at all.
  EXPECT_GE(spills.size(),
            5U * 60 + 3 * 18 + 2 * 24 + 4 * 10 + 5 * 12 + 18 + 12 + 18 + 14 * 4 + 4 * 12 + 3);
  for (const auto& [name, count] : spills) EXPECT_EQ(count, 0) << name;
}

}  // namespace
}  // namespace pareto
