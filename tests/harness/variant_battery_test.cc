#include "harness/variant_battery.h"

#include <gtest/gtest.h>

#include <set>
#include <utility>
#include <vector>

#include "harness/check_battery.h"
#include "harness/check_matrix.h"
#include "harness/registry.h"
#include "tests/harness/toy_op.h"

namespace pareto {
namespace {

Variant limited(std::vector<Limit> limits) {
  Variant variant = toy::variant(toy::compute);
  variant.limits = std::move(limits);
  return variant;
}

Problem toy_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  Problem problem(toy::op());
  problem.set("M", m).set("N", n).set("K", k);
  return problem;
}

TEST(WithinLimits, GoesUpToAMultipleAndDownOnlyBelowTheLargest) {
  const Variant variant = limited(
      {{.key = "M", .max = 4}, {.key = "N", .multiple_of = 8}, {.key = "K", .min = 16, .max = 60}});
  EXPECT_EQ(within_limits(variant, toy_of(9, 17, 3)), toy_of(4, 24, 16));
  EXPECT_EQ(within_limits(variant, toy_of(4, 16, 61)), toy_of(4, 16, 60));
  EXPECT_EQ(within_limits(limited({{.key = "K", .max = 60, .multiple_of = 16}}), toy_of(1, 1, 59)),
            toy_of(1, 1, 48));
}

// "exact" of the toy battery is 3x5x8, "normal" 4x6x33.
TEST(BatteryOf, InputsBeyondALimitComeAtTheNearestSize) {
  const Variant tiles = limited({{.key = "N", .multiple_of = 4}, {.key = "K", .multiple_of = 8}});
  const std::vector<BatteryInput> battery = battery_of(tiles, Problem(toy::op()));
  ASSERT_EQ(battery.size(), 2U);
  EXPECT_EQ(battery[0].problem, toy_of(3, 8, 8));
  EXPECT_EQ(battery[1].problem, toy_of(4, 8, 40));
  EXPECT_EQ(battery[1].name, "normal 4x6x33 N=8 K=40");
}

TEST(BatteryOf, AKernelForWholeTilesIsWrongOnWholeTiles) {
  ThreadPool pool(1);
  Variant variant = toy::variant(
      [](const Call& call, const Tensor& w) { toy::Op::multiply(call.in[0], w, call.out[0], 1); });
  variant.limits = {{.key = "N", .multiple_of = 64}};
  const CheckReport report = check_variant(variant, Problem(toy::op()), pool, {});
  EXPECT_EQ(report.status, CheckStatus::kFail);
  EXPECT_EQ(report.inputs.front().input, "exact N=64");
}

// What it declines cannot have rejected a wrong result of it.
TEST(BatteryOf, AVariantThatDeclinesTheExactInputIsNotTrustedForIt) {
  ThreadPool pool(1);
  Variant variant = toy::variant(toy::compute);
  variant.declines = [](const Problem&) -> std::string { return ""; };
  variant.arithmetic = [](const Problem&) {
    Arithmetic coarse;
    coarse.u_acc = 1;  // anything is within its bound: only exact inputs reject
    return coarse;
  };
  EXPECT_EQ(check_variant(variant, Problem(toy::op()), pool, {}).status, CheckStatus::kPass);
  variant.declines = [](const Problem& problem) -> std::string {
    return problem.size("K") == 8 ? "not eight" : "";
  };
  const CheckReport report = check_variant(variant, Problem(toy::op()), pool, {});
  EXPECT_EQ(report.status, CheckStatus::kUntrusted) << report.message;
}

TEST(BatteryText, TellsSizesApart) {
  const auto text = [](std::vector<Limit> limits) {
    return battery_text(battery_of(limited(std::move(limits)), Problem(toy::op())));
  };
  EXPECT_EQ(text({}), text({}));
  EXPECT_NE(text({}), text({{.key = "N", .multiple_of = 64}}));
}

// A variant for one scheme meets every option that it does not refuse, not the plain problem alone.
TEST(CheckMatrix, OptionsVaryUnderAProblemThatTheVariantTakes) {
  const Variant& variant = find_variant(find_op("qgemm"), "avx2_int8");
  bool bias = false;
  bool zeros = false;
  for (const Problem& problem : check_matrix(variant)) {
    if (!refusal(variant, problem).empty()) continue;
    bias = bias || problem.word("bias") == "present";
    zeros = zeros || problem.word("x_zero") == "present";
  }
  EXPECT_TRUE(bias);
  EXPECT_TRUE(zeros);
}

TEST(CheckMatrix, LimitedSizesAreTriedFromEndToEnd) {
  Variant variant = find_variant(find_op("attention"), "scalar");
  variant.limits = {{.key = "head_dim", .min = 64, .max = 256, .multiple_of = 64},
                    {.key = "head_dim_v", .min = 64, .max = 256, .multiple_of = 64}};
  std::set<std::int64_t> dims;
  for (const Problem& problem : check_matrix(variant)) {
    if (problem.size("head_dim") == problem.size("head_dim_v")) {
      dims.insert(problem.size("head_dim"));
    }
  }
  EXPECT_EQ(dims, (std::set<std::int64_t>{64, 128, 256}));
}

}  // namespace
}  // namespace pareto
