#include "reference/number_formats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace pareto {
namespace {

struct Named {
  const char* name;
  FloatFormat format;
};

const std::vector<Named> kSmallFormats = {
    {"bf16", kBf16Format}, {"fp16", kFp16Format}, {"e4m3", kE4m3Format}, {"e5m2", kE5m2Format},
    {"e2m3", kE2m3Format}, {"e3m2", kE3m2Format}, {"e2m1", kE2m1Format}};

int bits_of(const FloatFormat& format) { return 1 + format.exponent_bits + format.mantissa_bits; }

// (−1)^s · 2^(max(e,1) − bias) · (m/2^bits + [e > 0]), written down from the definition.
double defined_value(const FloatFormat& f, std::uint32_t code) {
  const int e = static_cast<int>(code >> f.mantissa_bits) & ((1 << f.exponent_bits) - 1);
  const int m = static_cast<int>(code) & ((1 << f.mantissa_bits) - 1);
  const double fraction = m / std::pow(2.0, f.mantissa_bits) + (e > 0 ? 1 : 0);
  const double value = std::pow(2.0, (e > 0 ? e : 1) - f.bias) * fraction;
  return (code >> (f.exponent_bits + f.mantissa_bits)) % 2 == 1 ? -value : value;
}

bool is_special(const FloatFormat& f, std::uint32_t code) {
  const std::uint32_t top = (1U << (f.exponent_bits + f.mantissa_bits)) - 1;
  const std::uint32_t magnitude = code & top;
  if (f.has_infinity) return magnitude >> f.mantissa_bits == (1U << f.exponent_bits) - 1;
  return f.has_nan && magnitude == top;
}

TEST(NumberFormats, DecodesEveryCodeAsDefined) {
  for (const auto& [name, format] : kSmallFormats) {
    for (std::uint32_t code = 0; code < 1U << bits_of(format); ++code) {
      if (is_special(format, code)) {
        EXPECT_FALSE(std::isfinite(decode_float(format, code))) << name << ' ' << code;
      } else {
        EXPECT_EQ(decode_float(format, code), defined_value(format, code)) << name << ' ' << code;
      }
    }
  }
}

TEST(NumberFormats, EveryCodeSurvivesDecodingAndEncoding) {
  for (const auto& [name, format] : kSmallFormats) {
    for (std::uint32_t code = 0; code < 1U << bits_of(format); ++code) {
      const double value = decode_float(format, code);
      if (std::isnan(value)) continue;
      EXPECT_EQ(encode_float(format, value), code) << name << ' ' << code;
    }
  }
}

// Between neighbours a and b everything below the middle gives a, above it b, and the middle itself
// the even code: all roundings of a format, without a second implementation of rounding.
TEST(NumberFormats, RoundsToNearestTiesToEvenBetweenAllNeighbours) {
  for (const auto& [name, format] : kSmallFormats) {
    const std::uint32_t sign = 1U << (bits_of(format) - 1);
    for (std::uint32_t code = 0; code + 1 < sign; ++code) {
      if (is_special(format, code + 1)) break;
      const double middle = (decode_float(format, code) + decode_float(format, code + 1)) / 2;
      const double below = std::nextafter(middle, 0.0);
      const double above = std::nextafter(middle, 1e300);
      const std::uint32_t even = code % 2 == 0 ? code : code + 1;
      EXPECT_EQ(encode_float(format, below), code) << name;
      EXPECT_EQ(encode_float(format, middle), even) << name;
      EXPECT_EQ(encode_float(format, above), code + 1) << name;
      EXPECT_EQ(encode_float(format, -middle), even | sign) << name;
    }
  }
}

TEST(NumberFormats, LargestValuesAreThoseOfTheStandards) {
  EXPECT_EQ(from_e4m3(0x7e), 448);
  EXPECT_EQ(from_e5m2(0x7b), 57344);
  EXPECT_EQ(decode_float(kE2m3Format, 0x1f), 7.5);
  EXPECT_EQ(decode_float(kE3m2Format, 0x1f), 28);
  EXPECT_EQ(decode_float(kE2m1Format, 0x7), 6);
  EXPECT_EQ(from_fp16(0x7bff), 65504);
  EXPECT_EQ(from_bf16(0x7f7f), std::ldexp(255.0, 120));
}

TEST(NumberFormats, OverflowGoesWhereTheFormatSays) {
  EXPECT_EQ(to_fp16(65519.99), 0x7bff);
  EXPECT_EQ(to_fp16(65520), 0x7c00);
  EXPECT_EQ(to_fp16(-1e300), 0xfc00);
  EXPECT_EQ(encode_float(kE5m2Format, 61439.9), 0x7bU);
  EXPECT_EQ(encode_float(kE5m2Format, 61440), 0x7cU);
  EXPECT_TRUE(std::isnan(from_e4m3(static_cast<std::uint8_t>(encode_float(kE4m3Format, 500)))));
  EXPECT_EQ(encode_float(kE4m3Format, 464), 0x7eU);  // halfway to 480, whose code would be odd
  EXPECT_EQ(encode_float(kE2m1Format, 100), 7U);
}

TEST(NumberFormats, SaturationStopsAtTheLargestValue) {
  for (const auto& [name, format] : kSmallFormats) {
    for (const double value : {1e300, std::numeric_limits<double>::infinity()}) {
      EXPECT_EQ(decode_float(format, encode_saturating(format, value)), format.max_finite) << name;
      EXPECT_EQ(decode_float(format, encode_saturating(format, -value)), -format.max_finite)
          << name;
    }
  }
}

TEST(NumberFormats, NanStaysNanWhereThereIsOne) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& [name, format] : kSmallFormats) {
    EXPECT_EQ(std::isnan(decode_float(format, encode_float(format, nan))), format.has_nan) << name;
  }
}

TEST(NumberFormats, RoundsOnceAndNotThroughFp32) {
  // Just above the middle of two fp16 neighbours by less than fp32 can see.
  const double value = 1 + 0x1p-11 + 0x1p-40;
  EXPECT_EQ(to_fp16(value), 0x3c01);
  EXPECT_EQ(to_fp16(static_cast<float>(value)), 0x3c00);
}

TEST(NumberFormats, Fp32IsTheMachines) {
  for (const double value : {1.0 / 3, 1e-40, 3.0e38, -0x1.fffffffp127, 0x1p-149, 0x1p-150}) {
    const auto rounded = static_cast<float>(value);
    EXPECT_EQ(decode_float(kFp32Format, encode_float(kFp32Format, value)), rounded) << value;
  }
}

TEST(NumberFormats, E8m0IsAPowerOfTwoOrNan) {
  EXPECT_EQ(from_e8m0(127), 1);
  EXPECT_EQ(from_e8m0(0), 0x1p-127);
  EXPECT_EQ(from_e8m0(254), 0x1p127);
  EXPECT_TRUE(std::isnan(from_e8m0(255)));
}

TEST(NumberFormats, StoresRoundedElements) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBf16, DType::kF16, DType::kE4m3}) {
    HostTensor tensor(dtype, Shape{3});
    store_rounded(tensor.view(), 1, -1.75);
    EXPECT_EQ(tensor.value(0), 0);
    EXPECT_EQ(tensor.value(1), -1.75);
    EXPECT_EQ(tensor.value(2), 0);
  }
}

}  // namespace
}  // namespace pareto
