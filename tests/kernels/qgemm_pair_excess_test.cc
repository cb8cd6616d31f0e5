// Codes whose pairs vpmaddubsw cannot hold: what is moved apart, and what stays.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdlib>

#include "harness/isa.h"
#include "kernels/qgemm/excess_avx2.h"

namespace pareto {
namespace {

constexpr int kCodes = 64;
using Codes = std::array<int, kCodes>;

// A row of codes, as packed, and what was moved apart.
struct Fitted {
  PackedRow row;
  Codes codes{};
  Codes apart{};
};

Fitted fit(const Codes& given) {
  PairExcess excess(2, kCodes);
  std::array<std::int16_t, kCodes> codes{};
  for (int i = 0; i < kCodes; ++i) codes[i] = static_cast<std::int16_t>(given[i]);
  Fitted fitted;
  // As the second of three rows.
  std::array<std::uint32_t, 3 * kCodes / 4> strip{};
  fitted.row = pack_row_avx2(1, codes.data(), kCodes / 4, excess, {strip.data() + 1, 3});
  for (int i = 0; i < kCodes; ++i) {
    const std::uint32_t code = strip[i / 4 * 3 + 1] >> (i % 4 * 8) & 0xff;
    fitted.codes[i] = static_cast<int>(code ^ 0x80) - 128;
  }
  EXPECT_TRUE(excess.row(0).empty());
  for (const PairExcess::Entry& entry : excess.row(1)) {
    for (int i = 0; i < 4; ++i) fitted.apart[entry.step * 4 + i] += entry.codes[i];
  }
  return fitted;
}

class PairExcessAvx2 : public testing::Test {
 protected:
  void SetUp() override {
    if ((isa_here() & static_cast<IsaSet>(Isa::kAvx2Fma)) == 0) GTEST_SKIP() << "no AVX2";
  }
};

TEST_F(PairExcessAvx2, EveryPairOfCodesFitsAfterwardsAndNothingIsLost) {
  for (int x0 = -128; x0 <= 127; ++x0) {
    for (int x1 = -128; x1 <= 127; ++x1) {
      // Both pairs of a step, in both orders, and the rest of it elsewhere.
      Codes given{};
      given[20] = given[23] = x0;
      given[21] = given[22] = x1;
      const Fitted fitted = fit(given);
      ASSERT_TRUE(fitted.row.fits);
      ASSERT_EQ(fitted.row.sum, 2 * (x0 + x1));
      for (int i = 0; i < kCodes; i += 2) {
        for (const auto& codes : {fitted.codes, fitted.apart}) {
          for (const int w0 : {0, 255}) {
            for (const int w1 : {0, 255}) {
              ASSERT_LE(std::abs(w0 * codes[i] + w1 * codes[i + 1]), 32767) << x0 << ' ' << x1;
            }
          }
        }
      }
      for (int i = 0; i < kCodes; ++i) {
        ASSERT_EQ(fitted.codes[i] + fitted.apart[i], given[i]) << x0 << ' ' << x1;
      }
    }
  }
}

// For half of 16 steps, and 4 more.
TEST_F(PairExcessAvx2, KeepsSoMuchAsThereIsRoomFor) {
  Codes given{};
  for (int step = 0; step < 12; ++step) given[4 * step] = given[4 * step + 1] = 100;
  EXPECT_TRUE(fit(given).row.fits);
  EXPECT_EQ(fit(given).apart[0], 72);
  EXPECT_EQ(fit(given).apart[44], 72);
  given[62] = given[63] = -128;
  EXPECT_FALSE(fit(given).row.fits);
  EXPECT_EQ(fit(given).row.sum, 24 * 100 - 256);
}

}  // namespace
}  // namespace pareto
