#include "harness/audit.h"

#include <gtest/gtest.h>
#include <xmmintrin.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <thread>

#include "tests/harness/toy_op.h"

namespace pareto {
namespace {

constexpr int kContents = 3;

/// Audits one timed call of `body` after honest verified calls.
class AuditTest : public testing::Test {
 protected:
  AuditTest() {
    for (int content = 0; content < kContents; ++content) {
      operands_.push_back(
          toy::op().encode(problem_, toy::op().draw(problem_, {"normal", 1, content})));
      operands_.back()[1] = operands_.front()[1];
    }
  }

  std::string audited(toy::Body body, const AuditOptions& options = {}) {
    toy::body() = toy::compute;
    Audit audit("toy/tested", options);
    const Variant variant = toy::variant(toy::compute);
    CallBuffers buffers(variant, problem_, operands_[0], Layout::kTimed);
    const auto prepared = variant.prepare(problem_, buffers.persistent(), pool_);
    const auto call = [&] { prepared->run({buffers.in(), buffers.out(), pool_}); };
    for (int content = 0; content < kContents; ++content) {
      buffers.load_transient(operands_[content]);
      call();
      Expected expected = expect(problem_, operands_[content], false, 1, 1);
      std::vector<Bounds> bounds = bounds_of(expected, {});
      audit.set_verified(content, buffers.copy_outputs(), std::move(expected), std::move(bounds));
    }
    toy::body() = std::move(body);
    buffers.load_transient(operands_[1]);
    for (int time = 0; time <= poisonings_before_; ++time) audit.poison(buffers, 1);
    audit.call_begins();
    call();
    audit.call_ended(buffers);
    if (after_call_) after_call_();
    std::string problem = audit.compare(buffers, 1);
    return problem.empty() ? audit.finish() : problem;
  }
  void expect_check(const std::string& problem, const std::string& check) {
    EXPECT_EQ(problem.substr(0, problem.find(':')), check) << problem;
  }

  Problem problem_{toy::op()};
  ThreadPool pool_{1};
  std::vector<Operands> operands_;
  std::function<void()> after_call_;
  int poisonings_before_ = 0;
};

TEST_F(AuditTest, AcceptsAnHonestCall) { EXPECT_EQ(audited(toy::compute), ""); }

TEST_F(AuditTest, DrawsSamplesBySeed) {
  const Audit a("toy/tested", {.seed = 1});
  const Audit b("toy/tested", {.seed = 1});
  const Audit c("toy/tested", {.seed = 2});
  int drawn = 0;
  int differs = 0;
  for (std::int64_t sample = 0; sample < 8000; ++sample) {
    drawn += a.wants(sample);
    EXPECT_EQ(a.wants(sample), b.wants(sample));
    differs += a.wants(sample) != c.wants(sample);
  }
  EXPECT_TRUE(a.wants(0));
  EXPECT_NEAR(drawn, 1000, 5 * 30);  // five standard deviations of a binomial of 1/8
  EXPECT_GT(differs, 1000);
}

TEST_F(AuditTest, NoticesACallThatDoesNothing) {
  expect_check(audited([](const Call&, const Tensor&) {}), "written");
}

TEST_F(AuditTest, NoticesACallThatComputesOnlyWhereItSeesPoison) {
  const toy::Body body = [](const Call& call, const Tensor& w) {
    if (std::isnan(call.out[0].as<float>()[0])) toy::compute(call, w);
  };
  EXPECT_EQ(audited(body), "");
  poisonings_before_ = 1;
  expect_check(audited(body), "cached");
}

TEST_F(AuditTest, NoticesTheResultOfAnotherContent) {
  expect_check(audited([&](const Call& call, const Tensor& w) {
                 toy::Op::multiply(operands_[0][0].view(), w, call.out[0], 0);
               }),
               "cached");
}

TEST_F(AuditTest, NoticesAWrongElement) {
  const std::string problem = audited([](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    call.out[0].as<float>()[7] += 1;
  });
  expect_check(problem, "timed");
  EXPECT_NE(problem.find("1 of 15 elements"), std::string::npos) << problem;
}

TEST_F(AuditTest, NonDeterministicCallsNeedOnlyBeWithinTheBound) {
  const AuditOptions options{.deterministic = false};
  const auto off_by = [](float error) {
    return [error](const Call& call, const Tensor& w) {
      toy::compute(call, w);
      call.out[0].as<float>()[7] *= 1 + error;
    };
  };
  EXPECT_EQ(audited(off_by(0x1p-23F), options), "");
  expect_check(audited(off_by(0.1F), options), "timed");
  expect_check(audited(off_by(0x1p-23F)), "timed");
}

TEST_F(AuditTest, NoticesWorkDeferredPastTheTimer) {
  std::function<void()> later;
  after_call_ = [&] { later(); };
  expect_check(audited([&](const Call& call, const Tensor& w) {
                 later = [call, w] { toy::compute(call, w); };
               }),
               "late");
}

TEST_F(AuditTest, NoticesFlushToZeroLeftOnAndPutsItBack) {
  const unsigned before = _mm_getcsr();
  expect_check(audited([](const Call& call, const Tensor& w) {
                 toy::compute(call, w);
                 _mm_setcsr(_mm_getcsr() | 1U << 15);
               }),
               "fp environment");
  EXPECT_EQ((_mm_getcsr() ^ before) & 1U << 15, 0U);
}

TEST_F(AuditTest, NoticesAThreadThatStaysUnlessTheLibraryHasItsOwn) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  const toy::Body body = [&](const Call& call, const Tensor& w) {
    toy::compute(call, w);
    threads.emplace_back([&] { stop.wait(false); });
  };
  expect_check(audited(body), "threads");
  EXPECT_EQ(audited(body, {.own_threads = true}), "");
  stop = true;
  stop.notify_all();
  for (std::thread& thread : threads) thread.join();
}

TEST_F(AuditTest, NoticesOperandsChangedInPlace) {
  expect_check(audited([](const Call& call, const Tensor& w) {
                 toy::compute(call, w);
                 call.in[0].as<float>()[0] += 1;
               }),
               "operands");
}

TEST_F(AuditTest, NoticesABrokenCanary) {
  expect_check(audited([](const Call& call, const Tensor& w) {
                 toy::compute(call, w);
                 call.out[0].as<float>()[call.out[0].elements()] = 1;
               }),
               "guard");
}

}  // namespace
}  // namespace pareto
