// Encoding and decoding of every scheme: golden errors, vectors by hand, layouts.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "harness/errors.h"
#include "harness/problem.h"
#include "harness/registry.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"
#include "reference/qgemm_operands.h"

namespace pareto {
namespace {

Problem problem_of(const std::string& scheme, std::int64_t M, std::int64_t N, std::int64_t K) {
  Problem problem(find_op("qgemm"));
  problem.set("scheme", scheme).set("M", M).set("N", N).set("K", K);
  return problem;
}

HostTensor matrix(std::int64_t rows, std::int64_t columns, const std::vector<float>& values) {
  HostTensor tensor(DType::kF32, Shape{rows, columns});
  std::copy(values.begin(), values.end(), tensor.view().as<float>());
  return tensor;
}

// One row of w and an x of ones, encoded.
struct Encoded {
  Problem problem;
  QgemmProblem p;
  Operands operands;
  std::vector<Tensor> in;

  Encoded(const Problem& case_problem, const TensorMap& inputs)
      : problem(case_problem),
        p(QgemmProblem::from(problem)),
        operands(find_op("qgemm").encode(problem, inputs)) {
    for (const HostTensor& operand : operands) in.push_back(operand.view());
  }

  std::vector<double> w(std::int64_t n = 0) const {
    std::vector<double> row(static_cast<std::size_t>(p.K));
    decode_w_row(p, in, n, row.data());
    return row;
  }
  std::vector<double> x(std::int64_t m = 0) const {
    std::vector<double> row(static_cast<std::size_t>(p.K));
    decode_x_row(p, in, m, x_tensor_scale(p, in), row.data());
    return row;
  }
  double scale(std::int64_t i) const { return value_at(in[kQgemmWScale], i); }
};

Encoded encode_row(const std::string& scheme, const std::vector<float>& w,
                   const std::string& compat = "none") {
  const auto K = static_cast<std::int64_t>(w.size());
  Problem problem = problem_of(scheme, 1, 1, K);
  problem.set("compat", compat);
  TensorMap inputs;
  inputs["x"] = matrix(1, K, std::vector<float>(w.size(), 1.0F));
  inputs["w"] = matrix(1, K, w);
  return {problem, inputs};
}

double relative_rmse(const std::vector<double>& got, std::span<const float> want) {
  double error = 0;
  double power = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    power += double{want[i]} * want[i];
  }
  return std::sqrt(error / power);
}

// Relative RMSE of rows of w, and of x, under a scheme, on N(0,1).
struct Rmse {
  double x = 0;
  double w = 0;
};
Rmse rmse_of(const std::string& scheme) {
  constexpr std::int64_t kRows = 128;
  constexpr std::int64_t kColumns = 4096;
  const Problem problem = problem_of(scheme, kRows, kRows, kColumns);
  const TensorMap inputs = find_op("qgemm").draw(problem, {"normal", 7, 0});
  const Encoded encoded(problem, inputs);
  std::vector<double> x;
  std::vector<double> w;
  for (std::int64_t row = 0; row < kRows; ++row) {
    const std::vector<double> x_row = encoded.x(row);
    const std::vector<double> w_row = encoded.w(row);
    x.insert(x.end(), x_row.begin(), x_row.end());
    w.insert(w.end(), w_row.begin(), w_row.end());
  }
  return {relative_rmse(x, inputs.at("x").span<const float>()),
          relative_rmse(w, inputs.at("w").span<const float>())};
}

TEST(QgemmSchemes, GoldenErrorsOfWeights) {
  const std::map<std::string, double> golden = {
      {"w8a8", .0087},       {"q8_0", .0054},       {"w4a16_g128", .111},
      {"w4a16_g32", .0949},  {"q4_0", .086},        {"w4a16_asym_g128", .1005},
      {"q4_k", .0784},       {"nf4_g64", .092},     {"fp8_e4m3", .0265},
      {"fp8_e5m2", .0527},   {"mxfp8", .0294},      {"fp8_e4m3_block128", .0265},
      {"mxfp6_e2m3", .0284}, {"mxfp6_e3m2", .0539}, {"mxfp4", .115},
      {"nvfp4", .095}};
  for (const auto& [scheme, want] : golden) {
    // Two percent, as the golden values are stated, and half a unit of their last digit.
    const double digit = want > .1 ? .0005 : want < .02 ? .00005 : .0005;
    EXPECT_NEAR(rmse_of(scheme).w, want, .02 * want + digit) << scheme;
  }
}

TEST(QgemmSchemes, GoldenErrorsOfActivations) {
  const std::map<std::string, double> golden = {{"w8a8", .0087},
                                                {"fp8_e4m3", .0265},
                                                {"fp8_e4m3_block128", .0257},
                                                {"mxfp8", .0294},
                                                {"fp8_e5m2", .0527}};
  for (const auto& [scheme, want] : golden) {
    EXPECT_NEAR(rmse_of(scheme).x, want, .02 * want + .00005) << scheme;
  }
}

TEST(QgemmSchemes, PerTensorErrorFollowsFromTheScale) {
  // A uniform rounding error of a step s has an RMS of s/√12.
  const Problem problem = problem_of("w8a8_tensor", 64, 64, 4096);
  const TensorMap inputs = find_op("qgemm").draw(problem, {"normal", 3, 0});
  const Encoded encoded(problem, inputs);
  std::vector<double> w;
  for (std::int64_t n = 0; n < 64; ++n) {
    const std::vector<double> row = encoded.w(n);
    w.insert(w.end(), row.begin(), row.end());
    EXPECT_EQ(encoded.scale(n), encoded.scale(0));
  }
  const double rmse = relative_rmse(w, inputs.at("w").span<const float>());
  EXPECT_NEAR(rmse, encoded.scale(0) / std::sqrt(12.0), .02 * rmse);
}

TEST(QgemmSchemes, Int4ByHand) {
  const Encoded e = encode_row("w4a16_g32", {7.5F, -7.5F, 0.5F, 1.5F, -2.5F});
  EXPECT_EQ(e.scale(0), 1);
  EXPECT_EQ(e.w(), (std::vector<double>{7, -8, 0, 2, -2}));
  const auto bytes = e.operands[kQgemmW].span<const std::uint8_t>();
  ASSERT_EQ(bytes.size(), 3U);
  EXPECT_EQ(bytes[0], 0x0f);  // −8 + 8 high, 7 + 8 low
  EXPECT_EQ(bytes[1], 0xa8);
  EXPECT_EQ(bytes[2], 0x86);  // the nibble beyond K stands for zero
}

TEST(QgemmSchemes, Int4AsymmetricByHand) {
  const Encoded e = encode_row("w4a16_asym_g128", {-5, 10, 0, 3.5F, 2.5F});
  EXPECT_EQ(e.scale(0), 1);
  EXPECT_EQ(e.operands[kQgemmWZero].value(0), 5);
  EXPECT_EQ(e.w(), (std::vector<double>{-5, 10, 0, 4, 2}));
}

TEST(QgemmSchemes, Q80ByHand) {
  std::vector<float> w(32, 0);
  w[0] = -254;
  w[31] = 3;  // 1.5 steps of 2, a tie to even
  const Encoded e = encode_row("q8_0", w);
  const auto block = e.operands[kQgemmW].span<const std::uint8_t>();
  ASSERT_EQ(block.size(), 34U);
  EXPECT_EQ(block[0] | block[1] << 8, to_fp16(2));
  EXPECT_EQ(static_cast<std::int8_t>(block[2]), -127);
  EXPECT_EQ(e.w()[31], 4);
}

TEST(QgemmSchemes, Q40TakesTheFirstExtreme) {
  std::vector<float> w(32, 0);
  w[3] = 8;
  w[5] = -8;
  w[16] = 2.5F;
  const Encoded e = encode_row("q4_0", w);
  const auto block = e.operands[kQgemmW].span<const std::uint8_t>();
  ASSERT_EQ(block.size(), 18U);
  EXPECT_EQ(block[0] | block[1] << 8, to_fp16(-1));
  EXPECT_EQ(e.w()[3], 8);
  EXPECT_EQ(e.w()[5], -7);      // +8 does not fit 4 bits
  EXPECT_EQ(e.w()[16], 2);      // −2.5 is a tie, to even
  EXPECT_EQ(block[2] >> 4, 6);  // element 16, high nibble of byte 0
  EXPECT_EQ(block[2] & 15, 8);  // element 0, low nibble
}

TEST(QgemmSchemes, Q40LikeGgmlRoundsHalvesUp) {
  std::vector<float> w(32, 0);
  w[3] = -8;
  w[16] = 2.5F;
  EXPECT_EQ(encode_row("q4_0", w).w()[16], 2);
  EXPECT_EQ(encode_row("q4_0", w, "ggml").w()[16], 3);
}

TEST(QgemmSchemes, Q80LikeGgmlRoundsHalvesAwayFromZero) {
  std::vector<float> w(32, 0);
  w[0] = 127;
  w[1] = 2.5F;
  EXPECT_EQ(encode_row("q8_0", w).w()[1], 2);
  EXPECT_EQ(encode_row("q8_0", w, "ggml").w()[1], 3);
}

TEST(QgemmSchemes, Q4kByHand) {
  std::vector<float> w(256, 0);
  for (std::size_t b = 0; b < 8; ++b) {
    w[32 * b] = -static_cast<float>(63 - b);
    w[32 * b + 1] = static_cast<float>(14 * (63 - b));
    w[32 * b + 2] = static_cast<float>(5 * (63 - b));
  }
  const Encoded e = encode_row("q4_k", w);
  const std::vector<double> decoded = e.w();
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT_EQ(decoded[i], w[i]) << i;
  const auto block = e.operands[kQgemmW].span<const std::uint8_t>();
  ASSERT_EQ(block.size(), 144U);
  EXPECT_EQ(block[0] | block[1] << 8, to_fp16(1));
  EXPECT_EQ(block[2] | block[3] << 8, to_fp16(1));
  EXPECT_EQ(block[4], 63 | 3 << 6);  // sc of sub-block 0, upper bits of sub-block 4's
  EXPECT_EQ(block[12], (59 & 15) | (59 & 15) << 4);  // lower bits of sc and mn of sub-block 4
  EXPECT_EQ(block[16], 0x00);                        // elements 0 and 32: both the minimum
  EXPECT_EQ(block[17], 0xff);
}

TEST(QgemmSchemes, Q4kLikeGgmlFitsNoWorseThanRounding) {
  // ggml searches the scales that minimise a weighted error; plain rounding is one candidate.
  Problem problem = problem_of("q4_k", 1, 32, 1024);
  const TensorMap inputs = find_op("qgemm").draw(problem, {"normal", 5, 0});
  std::vector<double> rmse;
  for (const char* compat : {"none", "ggml"}) {
    problem.set("compat", std::string(compat));
    const Encoded encoded(problem, inputs);
    std::vector<double> w;
    for (std::int64_t n = 0; n < 32; ++n) {
      const std::vector<double> row = encoded.w(n);
      w.insert(w.end(), row.begin(), row.end());
    }
    rmse.push_back(relative_rmse(w, inputs.at("w").span<const float>()));
  }
  EXPECT_LT(rmse[1], rmse[0]);
  EXPECT_GT(rmse[1], .5 * rmse[0]);
}

TEST(QgemmSchemes, Nf4TakesTheLowerOfTwoEquallyNear) {
  const double middle = (kNf4Table[7] + kNf4Table[8]) / 2;  // exact in fp32: half of entry 8
  const Encoded e = encode_row("nf4_g64", {-1, 1, static_cast<float>(middle), 0.5F, 0.0F});
  EXPECT_EQ(e.scale(0), 1);
  EXPECT_EQ(e.w()[2], 0);
  EXPECT_EQ(e.w()[3], kNf4Table[12]);
  EXPECT_EQ(e.w()[4], 0);
}

TEST(QgemmSchemes, MxfpByHand) {
  const Encoded four = encode_row("mxfp4", {4, 2.5F, -6, 0.25F, 0.75F});
  EXPECT_EQ(four.scale(0), 127);
  EXPECT_EQ(four.w(), (std::vector<double>{4, 2, -6, 0, 1}));
  const Encoded six = encode_row("mxfp6_e2m3", {7.9F, -1.0625F, 0.125F, 4.25F, 1});
  EXPECT_EQ(six.w(), (std::vector<double>{7.5, -1, 0.125, 4, 1}));
  const auto bytes = six.operands[kQgemmW].span<const std::uint8_t>();
  ASSERT_EQ(bytes.size(), 6U);
  // Codes 0x1f, 0x28, 0x01, 0x18 in one little-endian word.
  EXPECT_EQ(bytes[0] | bytes[1] << 8 | bytes[2] << 16, 0x1f | 0x28 << 6 | 0x01 << 12 | 0x18 << 18);
  const Encoded wide = encode_row("mxfp6_e3m2", {31, 16, -1, 0.0625F});
  EXPECT_EQ(wide.w(), (std::vector<double>{28, 16, -1, 0.0625}));
}

TEST(QgemmSchemes, Nvfp4ByHand) {
  std::vector<float> w(32, 0);
  w[0] = 2688;
  w[16] = 6;
  w[17] = 1.3F;
  const Encoded e = encode_row("nvfp4", w);
  EXPECT_EQ(e.operands[kQgemmWTensorScale].value(0), 1);
  EXPECT_EQ(e.scale(0), 448);
  EXPECT_EQ(e.scale(1), 1);
  EXPECT_EQ(e.w()[0], 2688);
  EXPECT_EQ(e.w()[17], 1.5);
}

TEST(QgemmSchemes, BlockScalesCover128By128) {
  Problem problem = problem_of("fp8_e4m3_block128", 1, 129, 130);
  TensorMap inputs = find_op("qgemm").draw(problem, {"uniform", 1, 0});
  float* w = inputs["w"].view().as<float>();
  w[127 * 130 + 127] = 448;
  w[127 * 130 + 128] = 896;
  w[128 * 130] = -1792;
  w[128 * 130 + 129] = 3584;
  const Encoded e(problem, inputs);
  EXPECT_EQ(e.operands[kQgemmWScale].shape(), (Shape{2, 2}));
  EXPECT_EQ(e.scale(0), 1);
  EXPECT_EQ(e.scale(1), 2);
  EXPECT_EQ(e.scale(2), 4);
  EXPECT_EQ(e.scale(3), 8);
  EXPECT_EQ(e.w(128)[0], -1792);
}

TEST(QgemmSchemes, DequantizedRowsAreTheDecodedOnesRounded) {
  for (const QgemmScheme& scheme : qgemm_schemes()) {
    const Problem problem = problem_of(std::string(scheme.name), 2, 3, 301);
    const Encoded e(problem, find_op("qgemm").draw(problem, {"normal", 1, 0}));
    std::vector<float> row(301);
    for (std::int64_t n = 0; n < 3; ++n) {
      dequantize_row(e.p, e.in, n, row.data());
      const std::vector<double> exact = e.w(n);
      for (std::size_t k = 0; k < row.size(); ++k) {
        ASSERT_EQ(row[k], static_cast<float>(exact[k])) << scheme.name << ' ' << k;
      }
    }
  }
}

TEST(QgemmSchemes, IntegerCodesAndScalesGiveTheDecodedValues) {
  for (const QgemmScheme& scheme : qgemm_schemes()) {
    const Problem problem = problem_of(std::string(scheme.name), 3, 3, 301);
    const Encoded e(problem, find_op("qgemm").draw(problem, {"outlier", 2, 0}));
    if (!e.p.integer_products()) continue;
    std::vector<std::int32_t> codes(301);
    std::vector<float> scales(static_cast<std::size_t>(e.p.w_groups()));
    std::vector<float> offsets(scales.size());
    integer_w_row(e.p, e.in, 1, codes.data(), scales.data(), offsets.data());
    const std::vector<double> w = e.w(1);
    for (std::size_t k = 0; k < codes.size(); ++k) {
      const std::size_t g = k / static_cast<std::size_t>(e.p.w_group);
      ASSERT_EQ(w[k], codes[k] * double{scales[g]} - offsets[g]) << scheme.name;
    }
    std::vector<double> exact_scales(static_cast<std::size_t>(e.p.x_groups()));
    x_row_scales(e.p, e.in, 1, exact_scales.data());
    std::vector<float> x_scales(exact_scales.size());
    std::int32_t zero = 0;
    quantize_x_row(e.p, e.in, 1, x_tensor_scale(e.p, e.in), codes.data(), x_scales.data(), &zero);
    const std::vector<double> x = e.x(1);
    for (std::size_t k = 0; k < codes.size(); ++k) {
      const std::size_t g = k / static_cast<std::size_t>(e.p.x_group);
      ASSERT_EQ(x[k], (codes[k] - zero) * exact_scales[g]) << scheme.name;
    }
  }
}

TEST(QgemmSchemes, ZerosStayZeros) {
  for (const QgemmScheme& scheme : qgemm_schemes()) {
    const Problem problem = problem_of(std::string(scheme.name), 1, 1, 70);
    TensorMap inputs;
    inputs["x"] = matrix(1, 70, std::vector<float>(70, 0));
    inputs["w"] = matrix(1, 70, std::vector<float>(70, 0));
    inputs["x_calib"] = matrix(1, 1, {0});
    const Encoded e(problem, inputs);
    for (const double value : e.w()) ASSERT_EQ(value, 0) << scheme.name;
    for (const double value : e.x()) ASSERT_EQ(value, 0) << scheme.name;
  }
}

TEST(QgemmSchemes, TinyWeightsGiveZerosAndHugeScalesAreRefused) {
  for (const char* scheme : {"w4a16_g32", "w4a16_asym_g128", "q8_0", "q4_0", "q4_k", "w4a8_g128"}) {
    const Encoded tiny = encode_row(scheme, std::vector<float>(40, 1e-9F));
    for (const double value : tiny.w()) EXPECT_EQ(value, 0) << scheme;
    try {
      encode_row(scheme, std::vector<float>(40, 1e9F));
      ADD_FAILURE() << scheme << " took a scale beyond fp16";
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find("65504"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace pareto
