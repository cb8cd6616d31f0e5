// The tables that kernels look codes up in, against the decoders of the reference.
#include <gtest/gtest.h>

#include "kernels/qgemm/code_values_avx512.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

double value_of(const ByteTable& table, std::size_t code) {
  return from_bf16(static_cast<std::uint16_t>(table.high[code] << 8 | table.low[code]));
}

TEST(QgemmCodeValues, BytesHoldEveryMagnitudeOfE4m3) {
  // 0x7f is NaN, which no weight is.
  for (std::size_t code = 0; code < 127; ++code) {
    EXPECT_EQ(value_of(kE4m3Bytes, code), from_e4m3(static_cast<std::uint8_t>(code))) << code;
  }
}

TEST(QgemmCodeValues, BytesHoldEveryFiniteMagnitudeOfE5m2) {
  for (std::size_t code = 0; code < 0x7c; ++code) {
    EXPECT_EQ(value_of(kE5m2Bytes, code), from_e5m2(static_cast<std::uint8_t>(code))) << code;
  }
}

TEST(QgemmCodeValues, BytesHoldEveryMagnitudeOfSixBits) {
  for (std::uint32_t code = 0; code < 32; ++code) {
    EXPECT_EQ(value_of(kE2m3Bytes, code), decode_float(kE2m3Format, code)) << code;
    EXPECT_EQ(value_of(kE3m2Bytes, code), decode_float(kE3m2Format, code)) << code;
  }
}

TEST(QgemmCodeValues, SignedTableHoldsEveryDifferenceOfTwoNibbles) {
  for (int difference = -15; difference <= 15; ++difference) {
    EXPECT_EQ(from_bf16(kSignedBf16[static_cast<std::size_t>(difference + 15)]), difference);
  }
}

// Every code of a vector of 16 columns has a nibble or byte of its own.
template <typename Codes>
void expect_places_apart(int per_byte) {
  std::array<int, 128> taken{};
  for (int column = 0; column < 16; ++column) {
    for (int k = 0; k < Codes::kElements; ++k) {
      const CodePlace place = Codes::place(k, column);
      ASSERT_LT(place.byte, 64);
      ++taken[static_cast<std::size_t>(place.byte) * 2 + (place.high ? 1 : 0)];
    }
  }
  int used = 0;
  for (const int count : taken) {
    EXPECT_LE(count, 1);
    used += count;
  }
  EXPECT_EQ(used, 64 * per_byte);
}

TEST(QgemmCodeValues, PlacesAreApart) {
  expect_places_apart<ZeroNibblePairs>(2);
  expect_places_apart<BytePairs<&kE4m3Bytes>>(1);
  expect_places_apart<ByteFloats>(1);
}

}  // namespace
}  // namespace pareto
