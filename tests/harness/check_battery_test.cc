#include "harness/check_battery.h"

#include <gtest/gtest.h>
#include <xmmintrin.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <thread>

#include "tests/harness/toy_op.h"

namespace pareto {
namespace {

CheckReport check(const Variant& variant) {
  ThreadPool pool(1);
  return check_variant(variant, Problem(toy::op()), pool, {});
}

TEST(CheckBattery, PassesAnHonestVariant) {
  const CheckReport report = check(toy::variant(toy::compute));
  EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
  EXPECT_EQ(report.check, "");
  ASSERT_EQ(report.inputs.size(), 4U);
  EXPECT_EQ(report.inputs[2].input, "surprise normal 4x6x33");  // the same at other sizes
  EXPECT_GE(report.n_compared, 3 * 5 + 3 * (4 * 6));
  EXPECT_GT(report.bound_max, 0);
  EXPECT_LT(report.bound_max, 1);
  EXPECT_LT(report.rms_ratio, 1);
}

TEST(CheckBattery, AlsoChecksOwnInputs) {
  ThreadPool pool(1);
  const Problem problem(toy::op());
  CheckOptions options;
  options.own = {own_input(problem, {"normal", 9, 0})};
  const CheckReport report = check_variant(toy::variant(toy::compute), problem, pool, options);
  EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
  EXPECT_EQ(report.inputs.back().input, "normal seed 9");
}

TEST(CheckBattery, CallsOnlyRunsEveryInputOnceAndClaimsNothing) {
  int calls = 0;
  ThreadPool pool(1);
  CheckOptions options;
  options.compare = false;
  const Variant wrong = toy::variant([&](const Call&, const Tensor&) { ++calls; });
  const CheckReport report = check_variant(wrong, Problem(toy::op()), pool, options);
  EXPECT_EQ(report.status, CheckStatus::kNotChecked);
  EXPECT_EQ(report.message, "called, not compared");
  EXPECT_EQ(calls, static_cast<int>(toy::op().battery(Problem(toy::op())).size()));
  const Variant broken =
      toy::variant([](const Call&, const Tensor&) { throw std::runtime_error("no room for it"); });
  const CheckReport failed = check_variant(broken, Problem(toy::op()), pool, options);
  EXPECT_EQ(failed.status, CheckStatus::kFail);
  EXPECT_NE(failed.message.find("no room for it"), std::string::npos) << failed.message;
}

TEST(CheckBattery, NamesTheFaultThatAWrongResultLooksLike) {
  const CheckReport report = check(toy::variant(
      [](const Call& call, const Tensor& w) { toy::Op::multiply(call.in[0], w, call.out[0], 1); }));
  EXPECT_EQ(report.status, CheckStatus::kFail);
  EXPECT_EQ(report.check, "exact");
  EXPECT_NE(report.message.find("looks like the fault 'last_k_dropped'"), std::string::npos)
      << report.message;
  EXPECT_NE(report.message.find("repeat with: pareto check '^toy/tested '"), std::string::npos);
}

TEST(CheckBattery, RejectsAnElementThatIsNotWritten) {
  const CheckReport report = check(toy::variant([](const Call& call, const Tensor& w) {
    float kept = 0;
    std::memcpy(&kept, call.out[0].as<float>() + 4, sizeof(kept));
    toy::compute(call, w);
    std::memcpy(call.out[0].as<float>() + 4, &kept, sizeof(kept));
  }));
  EXPECT_EQ(report.check, "written") << report.message;
}

TEST(CheckBattery, RejectsResultsThatDifferBetweenRepeats) {
  int calls = 0;
  const CheckReport report = check(toy::variant([&](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    float& first = call.out[0].as<float>()[0];
    // Within the bound of random inputs, so that only the repetition can tell.
    if (w.shape[1] == 33 && ++calls % 3 == 0) first = std::nextafter(first, 1e9F);
  }));
  EXPECT_EQ(report.check, "repeat") << report.message;
}

TEST(CheckBattery, LogsTheSpreadOfDeclaredNonDeterminism) {
  int calls = 0;
  Variant variant = toy::variant([&](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    float& first = call.out[0].as<float>()[0];
    if (w.shape[1] == 33 && ++calls % 3 == 0) first = std::nextafter(first, 1e9F);
  });
  variant.arithmetic = [](const Problem&) {
    Arithmetic arithmetic;
    arithmetic.deterministic = false;
    return arithmetic;
  };
  const CheckReport report = check(variant);
  EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
  EXPECT_GT(report.spread, 0);
}

TEST(CheckBattery, RejectsAResultCachedByAddress) {
  const void* seen = nullptr;
  std::vector<float> result;
  const CheckReport report = check(toy::variant([&](const Call& call, const Tensor& w) {
    const Tensor& y = call.out[0];
    if (seen != call.in[0].data || result.size() != y.span<float>().size()) {
      toy::compute(call, w);
      seen = call.in[0].data;
      result.assign(y.as<float>(), y.as<float>() + y.elements());
    }
    std::memcpy(y.data, result.data(), y.bytes());
  }));
  EXPECT_EQ(report.check, "cached") << report.message;
}

TEST(CheckBattery, RejectsWhatIsRightOnlyForTheFirstCalls) {
  int calls = 0;
  const CheckReport report = check(toy::variant([&](const Call& call, const Tensor& w) {
    if (++calls <= 60) toy::compute(call, w);
  }));
  EXPECT_EQ(report.check, "repeat") << report.message;
  EXPECT_NE(report.message.find("right only for the first calls"), std::string::npos);
}

TEST(CheckBattery, RejectsWhoComputesOnlyWhereItSeesPoison) {
  const CheckReport report = check(toy::variant([](const Call& call, const Tensor& w) {
    if (std::isnan(call.out[0].as<float>()[0])) toy::compute(call, w);
  }));
  EXPECT_EQ(report.check, "cached") << report.message;
}

// Remembers its result under a few sampled elements of the input.
TEST(CheckBattery, RejectsAResultCachedByAFingerprint) {
  float fingerprint = NAN;
  std::vector<float> result;
  const CheckReport report = check(toy::variant([&](const Call& call, const Tensor& w) {
    const Tensor& y = call.out[0];
    const float sampled = call.in[0].as<float>()[0] + 2 * call.in[0].as<float>()[1];
    if (sampled != fingerprint || result.size() != y.span<float>().size()) {
      toy::compute(call, w);
      result.assign(y.as<float>(), y.as<float>() + y.elements());
      fingerprint = sampled;
    }
    std::memcpy(y.data, result.data(), y.bytes());
  }));
  EXPECT_EQ(report.status, CheckStatus::kFail);
}

TEST(CheckBattery, RejectsFlushToZeroLeftOn) {
  const unsigned before = _mm_getcsr();
  const CheckReport report = check(toy::variant([](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    _mm_setcsr(_mm_getcsr() | 1U << 15);
  }));
  EXPECT_EQ(report.check, "fp environment") << report.message;
  EXPECT_EQ((_mm_getcsr() ^ before) & 1U << 15, 0U);  // and it was put back
}

TEST(CheckBattery, RejectsAThreadThatKeepsRunning) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  const CheckReport report = check(toy::variant([&](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    threads.emplace_back([&] { stop.wait(false); });
  }));
  stop = true;
  stop.notify_all();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(report.check, "threads") << report.message;
}

TEST(CheckBattery, RejectsMemoryThatRunKeeps) {
  std::vector<AlignedBuffer<float>> kept;
  const CheckReport report = check(toy::variant([&](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    kept.emplace_back(16);
  }));
  EXPECT_EQ(report.check, "allocation") << report.message;
}

TEST(CheckBattery, ReportsExceptionsAsFailures) {
  const CheckReport report =
      check(toy::variant([](const Call&, const Tensor&) { throw std::runtime_error("bad tile"); }));
  EXPECT_EQ(report.check, "exception");
  EXPECT_NE(report.message.find("bad tile"), std::string::npos);
}

TEST(CheckBattery, WhatTheVariantDeclinesIsSkippedWithItsReason) {
  Variant variant = toy::variant(toy::compute);
  variant.declines = [](const Problem& problem) -> std::string {
    return problem.size("K") == 33 ? "K 33 is none of mine" : "";
  };
  const CheckReport report = check(variant);
  EXPECT_EQ(report.status, CheckStatus::kPass);
  EXPECT_EQ(report.inputs[1].skipped, "K 33 is none of mine");
  variant.declines = [](const Problem&) -> std::string { return "nothing is mine"; };
  const CheckReport none = check(variant);
  EXPECT_EQ(none.status, CheckStatus::kNotChecked);
  EXPECT_NE(none.message.find("takes no input of the battery"), std::string::npos);
}

TEST(CheckBattery, AVariantOfABlindBatteryIsUntrusted) {
  ThreadPool pool(1);
  Problem problem(toy::op());
  problem.set("battery", std::string("blind"));
  const CheckReport report = check_variant(toy::variant(toy::compute), problem, pool, {});
  EXPECT_EQ(report.status, CheckStatus::kUntrusted);
  EXPECT_NE(report.message.find("zeros, twice"), std::string::npos) << report.message;
}

CheckReport isolated(const Variant& variant) {
  return check_isolated(variant, Problem(toy::op()), 1, {}, 60);
}

TEST(CheckIsolated, AgreesWithTheCheckInProcess) {
  const CheckReport apart = isolated(toy::variant(toy::compute));
  const CheckReport here = check(toy::variant(toy::compute));
  EXPECT_EQ(to_json(apart), to_json(here));
}

TEST(CheckIsolated, NamesTheOperandThatWasReadPastItsEnd) {
  const CheckReport report = isolated(toy::variant([](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    const Tensor& x = call.in[0];
    const volatile float* data = x.as<float>();
    call.out[0].as<float>()[0] += 0 * data[x.elements()];
  }));
  EXPECT_EQ(report.check, "guard");
  EXPECT_NE(report.message.find("read byte 1 past the end of operand x (slot 0)"),
            std::string::npos)
      << report.message;
  EXPECT_NE(report.message.find("input 'exact'"), std::string::npos);
}

TEST(CheckIsolated, NamesTheOutputThatWasWrittenOutside) {
  const CheckReport report = isolated(toy::variant([](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    call.out[0].as<volatile char>()[-1] = 1;
  }));
  EXPECT_EQ(report.check, "guard");
  EXPECT_NE(report.message.find("wrote byte 1 before the begin of output y"), std::string::npos)
      << report.message;
}

TEST(CheckIsolated, NamesTheOperandThatWasChangedInPlace) {
  const CheckReport report = isolated(toy::variant([](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    call.in[0].as<volatile float>()[1] = 1;
  }));
  EXPECT_EQ(report.check, "operands");
  EXPECT_NE(report.message.find("operand x (slot 0) was changed in place"), std::string::npos)
      << report.message;
}

TEST(CheckIsolated, NamesTheOperandThatPrepareShouldHaveTaken) {
  static const Tensor* remembered = nullptr;
  Variant variant =
      toy::variant([](const Call& call, const Tensor&) { toy::compute(call, *remembered); });
  variant.prepare = [](const Problem&, std::span<const Tensor> in,
                       ThreadPool&) -> std::unique_ptr<Prepared> {
    remembered = &in[1];
    return std::make_unique<toy::PreparedToy>(in[1]);
  };
  const CheckReport report = isolated(variant);
  EXPECT_EQ(report.check, "operands");
  EXPECT_NE(report.message.find("which run must not see"), std::string::npos) << report.message;
  variant.keeps_operands = true;
  EXPECT_EQ(isolated(variant).status, CheckStatus::kPass);
}

TEST(CheckIsolated, AHangIsAFailedCheck) {
  const CheckReport report =
      check_isolated(toy::variant([](const Call&, const Tensor&) {
                       for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
                     }),
                     Problem(toy::op()), 1, {}, 0.3);
  EXPECT_EQ(report.check, "timeout");
}

TEST(CheckReport, SurvivesTheWayThroughJson) {
  CheckReport report;
  report.status = CheckStatus::kFail;
  report.check = "bound";
  report.message = "5 of 7 wrong: “…”";
  report.bound_max = std::numeric_limits<double>::infinity();
  report.inputs = {{"exact", "", {}}, {"tiny", "K 3 below 4", {}}};
  const CheckReport back = check_report_from_json(to_json(report));
  EXPECT_EQ(back.status, CheckStatus::kFail);
  EXPECT_EQ(back.message, report.message);
  EXPECT_EQ(back.bound_max, report.bound_max);
  EXPECT_EQ(back.inputs[1].skipped, "K 3 below 4");
  EXPECT_TRUE(std::isnan(back.inputs[0].verdict.rms_ratio));
}

}  // namespace
}  // namespace pareto
