// Op qgemm: adoption of tensors, limits, the reference against a product written down by itself.
#include "reference/qgemm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "harness/errors.h"
#include "harness/op.h"
#include "harness/problem.h"
#include "harness/registry.h"

namespace pareto {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

const Op& op() { return find_op("qgemm"); }

HostTensor filled(const Shape& shape, const std::function<float(std::int64_t)>& value) {
  HostTensor tensor(DType::kF32, shape);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) tensor.view().as<float>()[i] = value(i);
  return tensor;
}

HostTensor ramp(const Shape& shape) {
  return filled(shape, [](std::int64_t i) { return static_cast<float>((i * 37 + 11) % 29 - 14); });
}

template <typename T>
HostTensor integers(DType dtype, const Shape& shape, const std::vector<int>& values) {
  HostTensor tensor(dtype, shape);
  for (std::size_t i = 0; i < values.size(); ++i) {
    tensor.view().as<T>()[i] = static_cast<T>(values[i]);
  }
  return tensor;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

// Adopted, encoded and multiplied: y as fp64, and acc where there is one.
std::vector<std::vector<double>> eval(Problem problem, TensorMap inputs) {
  op().adopt(problem, inputs);
  op().complete(problem);
  const Operands operands = op().encode(problem, inputs);
  const Positions positions = op().positions(problem, operands, 1);
  std::vector<std::vector<double>> values;
  for (Terms& terms : op().reference(problem, operands, positions, 2)) {
    values.push_back(terms.column[0]);
  }
  return values;
}

Problem scheme(const char* name) { return Problem(op()).set("scheme", std::string(name)); }

TEST(Qgemm, MultipliesRowsOfXWithRowsOfW) {
  TensorMap inputs;
  inputs["x"] = ramp(Shape{3, 5});
  inputs["w"] = ramp(Shape{4, 5});
  inputs["bias"] = ramp(Shape{4});
  const float* x = inputs["x"].view().as<float>();
  const float* w = inputs["w"].view().as<float>();
  const float* bias = inputs["bias"].view().as<float>();
  const std::vector<double> y = eval(scheme("fp32"), inputs)[0];
  ASSERT_EQ(y.size(), 12U);
  for (int m = 0; m < 3; ++m) {
    for (int n = 0; n < 4; ++n) {
      double want = bias[n];
      for (int k = 0; k < 5; ++k) want += double{x[m * 5 + k]} * w[n * 5 + k];
      EXPECT_EQ(y[static_cast<std::size_t>(m * 4 + n)], want);
    }
  }
}

TEST(Qgemm, ActivationsAreThoseOfTheirFormulas) {
  const std::vector<float> points = {-8, -1, -0.5F, 0, 0.25F, 1, 6};
  TensorMap inputs;
  inputs["x"] =
      filled(Shape{7, 1}, [&](std::int64_t i) { return points[static_cast<std::size_t>(i)]; });
  inputs["w"] = filled(Shape{1, 1}, [](std::int64_t) { return 1.0F; });
  const auto expect = [&](const char* word, const std::function<double(double)>& f) {
    const std::vector<double> y =
        eval(scheme("fp32").set("activation", std::string(word)), inputs)[0];
    for (std::size_t i = 0; i < points.size(); ++i) {
      // fp64 formulas written in two ways differ by cancellation in 1 + erf.
      EXPECT_NEAR(y[i], f(points[i]), 1e-14) << word << ' ' << points[i];
    }
  };
  expect("relu", [](double v) { return v > 0 ? v : 0; });
  expect("gelu", [](double v) { return v / 2 * (1 + std::erf(v / std::sqrt(2.0))); });
  expect("silu", [](double v) { return v * std::exp(v) / (1 + std::exp(v)); });
  expect("sigmoid", [](double v) { return std::exp(v) / (1 + std::exp(v)); });
  expect("tanh", [](double v) { return (std::exp(2 * v) - 1) / (std::exp(2 * v) + 1); });
}

TEST(Qgemm, IntegersGiveTheirSumsBitForBit) {
  TensorMap inputs;
  inputs["x_q"] = integers<std::uint8_t>(DType::kU8, Shape{2, 3}, {255, 0, 7, 1, 2, 3});
  inputs["x_zero"] = integers<std::int32_t>(DType::kS32, Shape{2}, {128, 0});
  inputs["w_q"] = integers<std::int8_t>(DType::kS8, Shape{2, 3}, {-128, 127, 1, 1, 1, 1});
  inputs["x_scale"] = filled(Shape{2}, [](std::int64_t i) { return i == 0 ? 0.5F : 2.0F; });
  inputs["w_scale"] = filled(Shape{2}, [](std::int64_t i) { return i == 0 ? 0.25F : 4.0F; });
  const auto outputs = eval(Problem(op()), inputs);
  ASSERT_EQ(outputs.size(), 2U);
  const std::vector<double> acc = {127 * -128 + -128 * 127 + -121, 127 - 128 - 121,
                                   -128 + 2 * 127 + 3, 6};
  EXPECT_EQ(outputs[kQgemmAcc], acc);
  EXPECT_EQ(outputs[kQgemmY],
            (std::vector<double>{acc[0] * 0.125, acc[1] * 2, acc[2] * 0.5, acc[3] * 8}));
}

TEST(Qgemm, ZeroPointsMayBeFarAwayAsLongAsSumsFit) {
  TensorMap inputs;
  inputs["x_q"] = integers<std::int8_t>(DType::kS8, Shape{1, 2}, {3, 4});
  inputs["x_zero"] = integers<std::int32_t>(DType::kS32, Shape{1}, {2000000000});
  inputs["w_q"] = integers<std::int8_t>(DType::kS8, Shape{1, 2}, {5, -5});
  inputs["x_scale"] = filled(Shape{1}, [](std::int64_t) { return 1.0F; });
  inputs["w_scale"] = inputs["x_scale"];
  EXPECT_EQ(eval(Problem(op()), inputs)[kQgemmAcc][0], -5);
  inputs["w_q"] = integers<std::int8_t>(DType::kS8, Shape{1, 2}, {5, 5});
  const std::string message = message_of([&] { eval(Problem(op()), inputs); });
  EXPECT_NE(message.find("x_zero[0] = 2000000000"), std::string::npos) << message;
}

TEST(Qgemm, SizesMayBeZero) {
  for (const QgemmScheme& each : qgemm_schemes()) {
    for (const auto& [M, N, K] : {std::tuple{0, 3, 4}, {3, 0, 4}, {2, 3, 0}, {0, 0, 0}}) {
      TensorMap inputs;
      inputs["x"] = ramp(Shape{M, K});
      inputs["w"] = ramp(Shape{N, K});
      inputs["x_calib"] = ramp(Shape{0, K});
      const auto y = eval(scheme(std::string(each.name).c_str()), inputs)[0];
      EXPECT_EQ(y, std::vector<double>(static_cast<std::size_t>(M * N), 0)) << each.name;
    }
  }
}

TEST(Qgemm, NonFiniteValuesPropagateInFloatSchemes) {
  for (const char* name : {"fp32", "bf16", "fp16"}) {
    TensorMap inputs;
    inputs["x"] = filled(Shape{3, 2}, [](std::int64_t i) {
      return i == 0 ? kInf : i == 3 ? kNan : 1;
    });
    inputs["w"] = filled(Shape{2, 2}, [](std::int64_t i) { return i == 2 ? 0 : 1; });
    const std::vector<double> y = eval(scheme(name), inputs)[0];
    EXPECT_EQ(y[0], kInf);
    EXPECT_TRUE(std::isnan(y[1])) << "Inf times 0";
    EXPECT_TRUE(std::isnan(y[2]) && std::isnan(y[3]));
    EXPECT_EQ(y[4], 2);
  }
}

TEST(Qgemm, QuantizingSchemesRefuseNonFiniteOperandsByIndex) {
  for (const QgemmScheme& each : qgemm_schemes()) {
    if (each.x == XKind::kFloat && each.w == WKind::kFloat) continue;
    for (const char* dataset : {"x", "w"}) {
      TensorMap inputs;
      inputs["x"] = ramp(Shape{3, 4});
      inputs["w"] = ramp(Shape{3, 4});
      inputs["x_calib"] = ramp(Shape{1, 4});
      inputs[dataset].view().as<float>()[6] = kNan;
      const std::string message =
          message_of([&] { eval(scheme(std::string(each.name).c_str()), inputs); });
      EXPECT_NE(message.find(std::string("dataset ") + dataset), std::string::npos) << message;
      EXPECT_NE(message.find("[1, 2]"), std::string::npos) << message;
    }
  }
}

TEST(Qgemm, SixteenBitSchemesRefuseWhatOverflows) {
  TensorMap inputs;
  inputs["x"] = filled(Shape{1, 2}, [](std::int64_t) { return 70000.0F; });
  inputs["w"] = ramp(Shape{1, 2});
  Problem problem = scheme("w4a16_g128");
  EXPECT_EQ(message_of([&] { eval(problem, inputs); }), "nothing was thrown");
  problem.set("dtype", std::string("fp16"));
  EXPECT_NE(message_of([&] { eval(problem, inputs); }).find("70000 overflows fp16"),
            std::string::npos);
}

TEST(Qgemm, WrongDatasetsAreNamedWithTheirLimits) {
  const auto expect = [](const TensorMap& inputs, const std::string& want) {
    const std::string message = message_of([&] { eval(scheme("w8a8_static"), inputs); });
    EXPECT_NE(message.find(want), std::string::npos) << message;
  };
  TensorMap inputs;
  expect(inputs, "dataset x is missing");
  inputs["x"] = ramp(Shape{2, 3});
  expect(inputs, "dataset w is missing");
  inputs["w"] = ramp(Shape{4});
  expect(inputs, "dataset w has shape [4], but must be [N, K]");
  inputs["w"] = ramp(Shape{4, 5});
  expect(inputs, "dataset w has K = 5");
  inputs["w"] = HostTensor(DType::kF64, Shape{4, 3});
  expect(inputs, "dataset w holds fp64, but must hold fp32");
  inputs["w"] = ramp(Shape{4, 3});
  expect(inputs, "dataset x_calib is missing");
  inputs["x_calib"] = ramp(Shape{1, 3});
  inputs["bias"] = ramp(Shape{3});
  expect(inputs, "dataset bias has shape [3], but must be [4]");
}

TEST(Qgemm, KLimitsAreThoseOfTheTypes) {
  struct Case {
    const char* scheme;
    const char* operands;
    std::int64_t limit;
  };
  for (const Case& each :
       {Case{"w8a8", "float", 133144}, Case{"w8a8_tensor", "float", 133144},
        Case{"w8a8_asym", "float", 65793}, Case{"w8a8", "s8", 131071}, Case{"w8a8", "u8", 65793}}) {
    Problem problem = scheme(each.scheme).set("operands", std::string(each.operands));
    problem.set("K", each.limit);
    EXPECT_NO_THROW(op().complete(problem)) << each.scheme;
    problem.set("K", each.limit + 1);
    EXPECT_THROW(op().complete(problem), CannotRunError) << each.scheme;
  }
  for (const char* name : {"fp32", "w4a8_g128", "q8_0_a8", "mxfp8"}) {
    Problem problem = scheme(name).set("K", std::int64_t{1} << 20);
    EXPECT_NO_THROW(op().complete(problem)) << name;
  }
}

TEST(Qgemm, LargestSumsFitInt32AtTheLimits) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int32_t>::max();
  EXPECT_LE(131071 * 128LL * 128, kLargest);
  EXPECT_GT(131072 * 128LL * 128, kLargest);
  EXPECT_LE(133144 * 127LL * 127, kLargest);
  EXPECT_GT(133145 * 127LL * 127, kLargest);
  EXPECT_LE(65793 * 255LL * 128, kLargest);
  EXPECT_GT(65794 * 255LL * 128, kLargest);
}

TEST(Qgemm, ImpossibleCombinationsAreRefused) {
  Problem compat = scheme("nf4_g64").set("compat", std::string("ggml"));
  EXPECT_THROW(op().complete(compat), InputError);
  Problem integer = scheme("fp32").set("operands", std::string("s8"));
  EXPECT_THROW(op().complete(integer), InputError);
  Problem zero = scheme("fp32").set("x_zero", std::string("present"));
  EXPECT_THROW(op().complete(zero), InputError);
}

TEST(Qgemm, OriginalIgnoresTheScheme) {
  Problem problem = scheme("q4_k").set("M", std::int64_t{2}).set("N", std::int64_t{3});
  problem.set("K", std::int64_t{40});
  const TensorMap inputs = op().draw(problem, {"normal", 1, 0});
  const Positions positions = {{0, 4}};
  const std::vector<double> y = op().original(problem, inputs, positions, 1)[0];
  const float* x = inputs.at("x").view().as<float>();
  const float* w = inputs.at("w").view().as<float>();
  double want = 0;
  for (int k = 0; k < 40; ++k) want += double{x[40 + k]} * w[40 + k];
  EXPECT_EQ(y[1], want);
}

TEST(Qgemm, BigProblemsAreSampledWithTheirBorders) {
  Problem problem = scheme("fp32");
  problem.set("M", std::int64_t{512}).set("N", std::int64_t{4099}).set("K", std::int64_t{4096});
  const std::vector<std::int64_t> list = op().positions(problem, {}, 1)[0];
  const std::set<std::int64_t> chosen(list.begin(), list.end());
  EXPECT_EQ(chosen.size(), list.size());
  EXPECT_TRUE(std::is_sorted(list.begin(), list.end()));
  for (const std::int64_t m : {0, 15, 16, 127, 128, 511, 504}) {
    for (const std::int64_t n : {0, 31, 32, 4095, 4096, 4098}) {
      EXPECT_TRUE(chosen.count(m * 4099 + n) == 1) << m << ' ' << n;
    }
  }
  EXPECT_GE(list.size(), 4096U);
  EXPECT_LE(list.size(), 8192U);
  EXPECT_NE(list, op().positions(problem, {}, 2)[0]);
  problem.set("N", std::int64_t{1}).set("M", std::int64_t{1} << 20);
  EXPECT_GE(op().positions(problem, {}, 1)[0].size(), 4096U);
}

TEST(Qgemm, SampledTermsAreThoseOfAllElements) {
  Problem problem = scheme("w4a8_g128").set("bias", std::string("present"));
  problem.set("M", std::int64_t{9}).set("N", std::int64_t{11}).set("K", std::int64_t{300});
  const Operands operands = op().encode(problem, op().draw(problem, {"normal", 1, 0}));
  const ReferenceTerms all =
      op().reference(problem, operands, op().positions(problem, operands, 1), 1);
  const ReferenceTerms some = op().reference(problem, operands, {{3, 50, 98}}, 4);
  for (std::size_t column = 0; column < some[0].column.size(); ++column) {
    const std::vector<double>& values = some[0].column[column];
    if (values.empty()) continue;
    EXPECT_EQ(values, (std::vector<double>{all[0].column[column][3], all[0].column[column][50],
                                           all[0].column[column][98]}));
  }
}

TEST(Qgemm, NarrowKeepsTheFirstRowsAndRefusesOtherSizes) {
  TensorMap inputs;
  inputs["x"] = ramp(Shape{5, 3});
  inputs["w"] = ramp(Shape{4, 3});
  Problem problem(op());
  problem.set("M", std::int64_t{2}).set("N", std::int64_t{4}).set("K", std::int64_t{3});
  const float fourth = inputs["x"].view().as<float>()[3];
  op().narrow(problem, inputs);
  EXPECT_EQ(inputs["x"].shape(), (Shape{2, 3}));
  EXPECT_EQ(inputs["x"].view().as<float>()[3], fourth);
  problem.set("M", std::int64_t{3});
  EXPECT_THROW(op().narrow(problem, inputs), InputError);
  problem.set("M", std::int64_t{2}).set("N", std::int64_t{5});
  EXPECT_THROW(op().narrow(problem, inputs), InputError);
}

TEST(Qgemm, VaryingKeepsContentZeroAndTurnsTheOthers) {
  TensorMap inputs;
  inputs["x"] = ramp(Shape{2, 3});
  inputs["w"] = ramp(Shape{4, 3});
  Problem problem(op());
  problem.set("M", std::int64_t{2}).set("N", std::int64_t{4}).set("K", std::int64_t{3});
  const std::vector<float> before(inputs["x"].span<float>().begin(),
                                  inputs["x"].span<float>().end());
  op().vary(problem, inputs, 0);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), inputs["x"].view().as<float>()));
  op().vary(problem, inputs, 1);
  EXPECT_EQ(inputs["x"].view().as<float>()[0], before[1]);
  EXPECT_EQ(inputs["x"].view().as<float>()[5], before[3]);
}

TEST(Qgemm, WorkCountsEveryOperandOnceAsStored) {
  Problem problem = scheme("w4a16_g128").set("bias", std::string("present"));
  problem.set("M", std::int64_t{2}).set("N", std::int64_t{3}).set("K", std::int64_t{256});
  const Work work = op().estimate(problem);
  EXPECT_EQ(work.flops, 2.0 * 2 * 3 * 256);
  EXPECT_EQ(work.compressed_bytes, 3 * 128 + 3 * 2 * 2);
  EXPECT_EQ(work.dense16_bytes, 3 * 256 * 2);
  EXPECT_EQ(work.bytes, work.compressed_bytes + 2 * 256 * 2 + 2 * 3 * 4 + 3 * 4);
}

}  // namespace
}  // namespace pareto
