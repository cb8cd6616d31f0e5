#include "reference/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "reference/number_formats.h"

namespace pareto {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Codes = std::vector<std::int8_t>;

TEST(Quantize, SymmetricRowByHand) {
  // amax 127 makes the scale 1: ties go to even.
  const std::vector<float> x = {127, 0.5F, 1.5F, -2.5F, 2.51F, -127};
  Codes q(x.size());
  EXPECT_EQ(quantize_row_s8(x, q.data()), 1.0F);
  EXPECT_EQ(q, (Codes{127, 0, 2, -2, 3, -127}));
}

TEST(Quantize, StaticScalesSaturate) {
  const std::vector<float> x = {1e30F, -1e30F, 12.7F, 0};
  Codes q(x.size());
  quantize_s8(x, 0.1F, q.data());
  EXPECT_EQ(q, (Codes{127, -127, 127, 0}));
}

TEST(Quantize, ZerosHaveScaleOne) {
  const std::vector<float> x(5, 0.0F);
  Codes q(5, 1);
  EXPECT_EQ(quantize_row_s8(x, q.data()), 1.0F);
  EXPECT_EQ(q, Codes(5, 0));
  EXPECT_EQ(quantize_row_s8({}, nullptr), 1.0F);
}

TEST(Quantize, AScaleThatUnderflowsGivesZeros) {
  // 2^-149/127 rounds to 0 in fp32.
  const std::vector<float> x = {0x1p-149F, -0x1p-149F};
  Codes q(2, 1);
  EXPECT_EQ(quantize_row_s8(x, q.data()), 0.0F);
  EXPECT_EQ(q, Codes(2, 0));
  Bytes affine(2, 1);
  EXPECT_EQ(quantize_row_u8(x, affine.data()).scale, 0.0F);
  EXPECT_EQ(affine, Bytes(2, 0));
}

TEST(Quantize, QuotientsAreTakenInFp64) {
  // The fp32 quotient of this value and scale is exactly 2.5, its fp64 quotient is above it.
  int differing = 0;
  for (int i = 1; i < 100000; ++i) {
    const float scale = scale_of(1.0F + static_cast<float>(i) * 1e-5F, 127);
    const float x = std::nextafter(2.5F * scale, 10.0F);
    std::int8_t q = 0;
    quantize_s8({&x, 1}, scale, &q);
    const double exact = static_cast<double>(x) / scale;
    ASSERT_EQ(q, exact > 2.5 ? 3 : 2);
    differing += q != static_cast<int>(std::nearbyint(x / scale)) ? 1 : 0;
  }
  EXPECT_GT(differing, 0) << "the inputs no longer tell fp32 quotients from fp64 ones";
}

TEST(Quantize, GroupsHaveTheirOwnScalesAndMayBeShort) {
  const std::vector<float> x = {127, -1, 254, 2, 63.5F};
  Codes q(x.size());
  std::vector<float> scales(3);
  quantize_row_s8_groups(x, 2, q.data(), scales.data());
  EXPECT_EQ(scales, (std::vector<float>{1, 2, 0.5F}));
  EXPECT_EQ(q, (Codes{127, -1, 127, 1, 127}));
}

TEST(Quantize, AffineRowByHand) {
  // Range −100…155 makes the scale 1 and the zero point 100.
  const std::vector<float> x = {-100, 155, 0, 0.5F, 1.5F, -0.5F};
  Bytes q(x.size());
  const AffineScale affine = quantize_row_u8(x, q.data());
  EXPECT_EQ(affine.scale, 1.0F);
  EXPECT_EQ(affine.zero, 100);
  EXPECT_EQ(q, (Bytes{0, 255, 100, 100, 102, 100}));
}

TEST(Quantize, AffineRangeIncludesZero) {
  const std::vector<float> x = {10, 255};
  Bytes q(2);
  const AffineScale affine = quantize_row_u8(x, q.data());
  EXPECT_EQ(affine.scale, 1.0F);
  EXPECT_EQ(affine.zero, 0);
  EXPECT_EQ(q, (Bytes{10, 255}));
}

TEST(Quantize, Fp8RowByHand) {
  const std::vector<float> x = {448, -448, 17, 18, 0x1p-9F, 0x1p-10F, 0};
  Bytes q(x.size());
  EXPECT_EQ(quantize_row_fp8(x, DType::kE4m3, q.data()), 1.0F);
  const std::vector<double> want = {448, -448, 16, 18, 0x1p-9, 0, 0};  // 17: tie to even
  for (std::size_t i = 0; i < x.size(); ++i) EXPECT_EQ(from_e4m3(q[i]), want[i]) << i;
  const std::vector<float> wide = {57344, 9, -7};
  EXPECT_EQ(quantize_row_fp8(wide, DType::kE5m2, q.data()), 1.0F);
  EXPECT_EQ(from_e5m2(q[1]), 8);  // between 8 and 10, to even
  EXPECT_EQ(from_e5m2(q[2]), -7);
}

TEST(Quantize, MxScalesAreFloorsOfLogarithms) {
  EXPECT_EQ(mx_scale_of(448, 8), 127);
  EXPECT_EQ(mx_scale_of(511.9F, 8), 127);
  EXPECT_EQ(mx_scale_of(512, 8), 128);
  EXPECT_EQ(mx_scale_of(6, 2), 127);
  EXPECT_EQ(mx_scale_of(0, 2), 127);
  EXPECT_EQ(mx_scale_of(0x1p-149F, 2), 0);
  EXPECT_EQ(mx_scale_of(0x1.fffffep127F, 2), 252);
}

TEST(Quantize, MxValuesBeyondTheLargestSaturate) {
  const std::vector<float> x = {500, 1};
  Bytes q(2);
  std::uint8_t scale = 0;
  quantize_row_mxfp8(x, 32, q.data(), &scale);
  EXPECT_EQ(scale, 127);
  EXPECT_EQ(from_e4m3(q[0]), 448);
  EXPECT_EQ(from_e4m3(q[1]), 1);
}

}  // namespace
}  // namespace pareto
