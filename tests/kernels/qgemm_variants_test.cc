// Every qgemm variant of ours that runs on this CPU against the fp64 reference, on shapes that meet
// each edge of the tiles: one element, one less and one more than strips, panels and groups, empty
// sides, several blocks of K.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/check_battery.h"
#include "harness/registry.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

struct Sizes {
  std::int64_t M;
  std::int64_t N;
  std::int64_t K;
};

// Strips hold up to 12 or 6 rows, panels 32 columns, steps 4 to 256 of K.
const std::vector<Sizes> kSizes = {{1, 1, 1},    {1, 33, 70},   {2, 31, 127}, {6, 32, 128},
                                   {7, 65, 300}, {13, 40, 513}, {12, 4, 33},  {3, 4, 0},
                                   {0, 5, 7},    {4, 0, 9}};
// Five strips and more than one block of K in every kernel.
const Sizes kSeveralBlocks = {61, 129, 2309};

Problem problem_of(const std::string& scheme, const Sizes& sizes, int turn) {
  static const std::vector<std::string> kActivations = activation_words();
  static const std::vector<std::string> kOutDtypes = {"fp32", "bf16", "fp16"};
  Problem problem(find_op("qgemm"));
  problem.set("M", sizes.M).set("N", sizes.N).set("K", sizes.K);
  problem.set_text("scheme", scheme);
  problem.set_text("activation", kActivations[static_cast<std::size_t>(turn) % 6]);
  problem.set_text("out_dtype", kOutDtypes[static_cast<std::size_t>(turn) % 3]);
  problem.set_text("bias", turn % 2 == 0 ? "none" : "present");
  problem.set_text("dtype", turn % 4 < 2 ? "bf16" : "fp16");
  return problem;
}

std::vector<const Variant*> ours_here() {
  std::vector<const Variant*> found;
  for (const Variant* variant : variants()) {
    if (variant->op != "qgemm" || variant->baseline || variant->needs_cuda != 0) continue;
    if (missing_here(*variant).empty()) found.push_back(variant);
  }
  return found;
}

// All variants that take the problem; returns how many.
int expect_agreement(const Problem& problem, const std::vector<CheckInput>& inputs) {
  ThreadPool pool(1);
  CheckOptions options;
  options.battery = false;
  options.mutants = false;
  options.pool_sizes = {2, 3};
  options.own = inputs;
  int taken = 0;
  for (const Variant* variant : ours_here()) {
    if (!refusal(*variant, problem).empty()) continue;
    ++taken;
    const CheckReport report = check_variant(*variant, problem, pool, options);
    EXPECT_EQ(report.status, CheckStatus::kPass)
        << full_name(*variant) << " on " << problem.text() << "\n"
        << report.message;
  }
  return taken;
}

int expect_agreement_on(const Problem& problem, const std::vector<std::string>& distributions) {
  std::vector<CheckInput> inputs;
  for (const std::string& distribution : distributions) {
    inputs.push_back(own_input(problem, {.distribution = distribution, .seed = 7}));
  }
  return expect_agreement(problem, inputs);
}

class QgemmSchemes : public testing::TestWithParam<std::string> {};

TEST_P(QgemmSchemes, AgreeWithTheReference) {
  int turn = 0;
  for (const Sizes& sizes : kSizes) {
    EXPECT_GE(expect_agreement_on(problem_of(GetParam(), sizes, turn++), {"normal", "planted"}), 1);
  }
  for (int i = 0; i < 2; ++i, turn += 3) {
    EXPECT_GE(expect_agreement_on(problem_of(GetParam(), kSeveralBlocks, turn), {"normal"}), 1);
  }
}

TEST_P(QgemmSchemes, AreExactOnExactInputs) {
  for (const Sizes& sizes : {Sizes{13, 33, 513}, Sizes{1, 64, 256}}) {
    Problem problem = problem_of(GetParam(), sizes, 0);
    problem.set_text("activation", "none");
    EXPECT_GE(expect_agreement_on(problem, {"exact"}), 1);
  }
}

// Rows of x from zero and subnormals, whose scales have no reciprocal, to the top of fp32; rows of
// w that are zero, tiny, or have a single outlier.
TEST_P(QgemmSchemes, AgreeAtExtremeMagnitudes) {
  const std::vector<float> magnitudes = {0,      1e-45F, 3e-43F, 1e-39F, 2e-38F,
                                         1e-30F, 1,      1e18F,  1e33F};
  const Sizes sizes = {static_cast<std::int64_t>(magnitudes.size()), 35, 261};
  Problem problem(find_op("qgemm"));
  problem.set("M", sizes.M).set("N", sizes.N).set("K", sizes.K);
  problem.set_text("scheme", GetParam());
  TensorMap inputs = problem.op().draw(problem, {.distribution = "normal", .seed = 3});
  const bool half = GetParam() == "fp16";  // beyond ±65504 lies Inf, which is another test's matter
  for (std::int64_t m = 0; m < sizes.M; ++m) {
    const float factor = magnitudes[static_cast<std::size_t>(m)];
    for (std::int64_t k = 0; k < sizes.K; ++k) {
      inputs["x"].view().as<float>()[m * sizes.K + k] *= half ? std::min(factor, 1e3F) : factor;
    }
  }
  for (std::int64_t k = 0; k < sizes.K; ++k) {
    auto* w = inputs["w"].view().as<float>();
    w[k] = 0;
    w[sizes.K + k] *= 1e-3F;
    w[2 * sizes.K + k] *= k == 100 ? 1e3F : 1.0F;
  }
  const CheckInput extreme{"extreme", problem.op().encode(problem, inputs), {}};
  EXPECT_GE(expect_agreement(problem, {extreme}), 1);
}

// Groups whose zero point is 0 or 15 and whose codes but one equal it: the one product that counts
// is far smaller than code · x of the others, so that taking zero · Σx off afterwards would cancel.
TEST(QgemmVariants, ZeroPointsAtTheirEndsDoNotCancel) {
  const Sizes sizes = {3, 34, 300};
  Problem problem(find_op("qgemm"));
  problem.set("M", sizes.M).set("N", sizes.N).set("K", sizes.K);
  problem.set_text("scheme", "w4a16_asym_g128");
  TensorMap inputs = problem.op().draw(problem, {.distribution = "positive", .seed = 5});
  for (std::int64_t n = 0; n < sizes.N; ++n) {
    for (std::int64_t k = 0; k < sizes.K; ++k) {
      const float outlier = n % 2 == 0 ? -1.5F : 1.5F;
      inputs["w"].view().as<float>()[n * sizes.K + k] = k % 128 == 5 ? outlier : 0.0F;
    }
  }
  for (std::int64_t m = 0; m < sizes.M; ++m) {
    for (std::int64_t k = 5; k < sizes.K; k += 128) {
      inputs["x"].view().as<float>()[m * sizes.K + k] *= 1e-4F;
    }
  }
  const CheckInput ends{"ends", problem.op().encode(problem, inputs), {}};
  EXPECT_GE(expect_agreement(problem, {ends}), 1);
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const QgemmScheme& scheme : qgemm_schemes()) names.emplace_back(scheme.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(All, QgemmSchemes, testing::ValuesIn(scheme_names()),
                         [](const auto& name) { return name.param; });

TEST(QgemmVariants, MultiplyIntegersBitForBit) {
  // Every rest of K over steps of 4, and at last several blocks along each side.
  std::vector<Sizes> all = kSizes;
  all.insert(all.end(),
             {{48, 33, 1029}, {49, 16, 514}, {50, 1, 3}, {600, 40, 260}, {600, 450, 514}});
  for (const char* operands : {"s8", "u8"}) {
    for (const char* zero : {"none", "present"}) {
      int turn = 0;
      for (const Sizes& sizes : all) {
        Problem problem = problem_of("w8a8", sizes, turn++);
        problem.set_text("operands", operands);
        problem.set_text("x_zero", zero);
        EXPECT_GE(expect_agreement_on(problem, {"normal"}), 1);
      }
    }
  }
}

// Codes at the ends of their range, in runs and alternating, where sums of two of them or of their
// products are largest; few rows and many. Everywhere, or in one step of 4 codes in so many of x,
// whose others are drawn: avx2_int8 keeps few of them apart, and widens x for many.
TEST(QgemmVariants, ExtremeCodesAreExact) {
  constexpr std::int64_t kCodes = 302;
  for (const std::int64_t M : {1, 5, 48}) {
    for (const std::size_t every : {1, 2, 5, 9}) {
      Problem problem(find_op("qgemm"));
      problem.set("M", M).set("N", std::int64_t{40}).set("K", kCodes);
      problem.set_text("scheme", "w8a8");
      problem.set_text("operands", "s8");
      TensorMap inputs = problem.op().draw(problem, {.distribution = "normal", .seed = 9});
      for (const char* name : {"x", "w"}) {
        const std::span<std::int8_t> codes = inputs[name].span<std::int8_t>();
        for (std::size_t i = 0; i < codes.size(); ++i) {
          const std::size_t row = i / kCodes;
          if (*name == 'x' && i % kCodes / 4 % every != row % every) continue;
          const bool low = row % 3 == 0 || (row % 3 == 1 && i % 2 == 0);
          codes[i] = low ? std::int8_t{-128} : std::int8_t{127};
        }
      }
      EXPECT_GE(expect_agreement(problem, {{"ends", problem.op().encode(problem, inputs), {}}}), 1);
    }
  }
}

// Groups whose codes are all at an end of their range, or in runs and alternating, where sums of
// 16 bits are largest; one strip and more.
TEST(QgemmVariants, ExtremeGroupsAreExact) {
  for (const char* scheme : {"w4a8_g128", "q8_0_a8", "q4_0_a8", "q4_k_a8"}) {
    for (const std::int64_t M : {4, 9}) {
      const std::int64_t K = 300;
      Problem problem = problem_of(scheme, {M, 40, K}, 0);
      TensorMap inputs = problem.op().draw(problem, {.distribution = "normal", .seed = 9});
      for (const char* name : {"x", "w"}) {
        const std::span<float> values = inputs[name].span<float>();
        for (std::size_t i = 0; i < values.size(); ++i) {
          const std::size_t row = i / K;
          const bool low =
              row % 4 == 0 || (row % 4 == 1 && i % 2 == 0) || (row % 4 == 2 && i % 4 < 2);
          values[i] = low ? -1.0F : 1.0F;
        }
      }
      EXPECT_GE(expect_agreement(problem, {{"ends", problem.op().encode(problem, inputs), {}}}), 2);
    }
  }
}

// Last panels of every width class, finished in registers or not, over rows of x that are read
// where they lie (K = 100), that would meet in one set of a cache (K = 2048) or end within a dword
// (51).
TEST(QgemmVariants, NarrowPanelsAgree) {
  for (const char* scheme : {"fp32", "bf16", "fp16", "w8a8"}) {
    for (const char* activation : {"none", "relu", "silu"}) {
      for (const std::int64_t K : {51, 100, 2048}) {
        for (const std::int64_t N : {8, 9, 48, 50}) {
          Problem problem(find_op("qgemm"));
          problem.set("M", std::int64_t{26}).set("N", N).set("K", K);
          problem.set_text("scheme", scheme);
          problem.set_text("activation", activation);
          problem.set_text("bias", "present");
          EXPECT_GE(expect_agreement_on(problem, {"normal"}), 1);
        }
      }
    }
  }
}

// Rows of x of whole 4 KiB meet in one set of L1: threads copy some strips at a time, here two
// lots.
TEST(QgemmVariants, RowsThatCollideAgree) {
  for (const char* scheme : {"fp32", "bf16"}) {
    const Problem problem = problem_of(scheme, {530, 40, 2048}, 0);
    EXPECT_GT(expect_agreement_on(problem, {"normal"}), 0);
  }
}

// Few rows have tiles of their own: sums in several chains, each over its share of K (whose chunks
// of 16 may leave some, and some elements, over), and W that the tile itself decodes.
TEST(QgemmVariants, FewRowsAgree) {
  for (const char* scheme : {"fp32", "bf16", "fp16", "w4a16_g32", "nf4_g64", "fp8_e4m3"}) {
    for (const std::int64_t M : {1, 2, 3, 4, 5}) {
      for (const std::int64_t K : {64, 83, 515}) {
        EXPECT_GT(expect_agreement_on(problem_of(scheme, {M, 40, K}, 0), {"planted"}), 0);
      }
    }
  }
}

// K = 1 and w = 1 make y = f(x): a dense sweep of every activation function in use.
TEST(QgemmVariants, ActivationsKeepTheirDeclaredError) {
  for (const std::string& activation : activation_words()) {
    Problem problem(find_op("qgemm"));
    problem.set("M", std::int64_t{20001}).set("N", std::int64_t{16}).set("K", std::int64_t{1});
    problem.set_text("activation", activation);
    TensorMap inputs;
    inputs["x"] = HostTensor(DType::kF32, Shape{20001, 1});
    inputs["w"] = HostTensor(DType::kF32, Shape{16, 1});
    for (std::int64_t i = 0; i < 20001; ++i) {
      inputs["x"].span<float>()[static_cast<std::size_t>(i)] = static_cast<float>(i - 10000) / 100;
    }
    // Sixteen scales: y from ±1e-3 to ±100 and beyond the range of e^y.
    for (int i = 0; i < 16; ++i) {
      inputs["w"].span<float>()[static_cast<std::size_t>(i)] =
          static_cast<float>(static_cast<double>(i + 1) / (1 << i));
    }
    ThreadPool pool(2);
    CheckOptions options;
    options.battery = false;
    options.mutants = false;
    options.pool_sizes = {};
    options.own = {{activation, problem.op().encode(problem, inputs), {}}};
    for (const Variant* variant : ours_here()) {
      if (!refusal(*variant, problem).empty()) continue;
      const CheckReport report = check_variant(*variant, problem, pool, options);
      EXPECT_EQ(report.status, CheckStatus::kPass)
          << full_name(*variant) << " with " << activation << "\n"
          << report.message;
    }
  }
}

// Sums of one sign leave the RMS test little room: roundings that a variant does not declare, as
// those of the products where there is no FMA, show in some of the draws.
TEST(QgemmVariants, ScalarDeclaresEveryRounding) {
  const Variant& scalar = find_variant(find_op("qgemm"), "scalar");
  const Sizes sizes = {4, 284, 60};
  ThreadPool pool(1);
  for (const std::string scheme : {"fp32", "q8_0", "w4a16_g32"}) {
    Problem problem = problem_of(scheme, sizes, 0);
    problem.set_text("dtype", "fp16");
    CheckOptions options;
    options.battery = false;
    options.mutants = false;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      TensorMap inputs = problem.op().draw(problem, {.distribution = "normal", .seed = seed});
      auto* w = inputs["w"].view().as<float>();
      for (std::int64_t i = 0; i < sizes.N * sizes.K; ++i) w[i] = std::abs(w[i]);
      options.own.push_back({"one sign", problem.op().encode(problem, inputs), {}});
    }
    const CheckReport report = check_variant(scalar, problem, pool, options);
    EXPECT_EQ(report.status, CheckStatus::kPass) << scheme << ": " << report.message;
  }
}

TEST(QgemmVariants, ScalarTakesEverything) {
  const Op& op = find_op("qgemm");
  const Variant& scalar = find_variant(op, "scalar");
  for (const std::string& scheme : scheme_names()) {
    for (int turn = 0; turn < 12; ++turn) {
      EXPECT_EQ(refusal(scalar, problem_of(scheme, {1, 1, 1}, turn)), "");
    }
  }
}

}  // namespace
}  // namespace pareto
