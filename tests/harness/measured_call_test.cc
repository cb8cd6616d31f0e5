#include "harness/measured_call.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "harness/clock.h"
#include "tests/harness/toy_op.h"

namespace pareto {
namespace {

constexpr double kCall_s = 50e-6;

void spin(double seconds) {
  for (const double start_s = now_s(); now_s() - start_s < seconds;) {
  }
}

/// What the checks of timed calls say of `body`, after some visits of `calls` calls per sample.
std::string failure_of(toy::Body body, std::int64_t calls) {
  const Variant variant = toy::variant(std::move(body));
  Case subject;
  subject.variant = &variant;
  subject.problem = Problem(toy::op());
  subject.source = {.distribution = "normal", .seed = 1};
  subject.cache = "warm";
  Contents contents(subject.problem, subject.source, 3, 1);
  ThreadPool pool(1);
  MeasuredCall call(subject, contents, pool);
  for (int visit = 0; visit < 8; ++visit) {
    call.begin_visit();
    for (int i = 0; i < 4; ++i) {
      call.before_sample();
      call.sample(calls);
    }
    call.end_visit();
  }
  call.finish();
  return call.failure();
}

TEST(MeasuredCall, AcceptsAKernelThatIsInterruptedEveryFewCalls) {
  std::int64_t calls = 0;
  EXPECT_EQ(failure_of(
                [&calls](const Call& call, const Tensor& w) {
                  toy::compute(call, w);
                  spin(calls++ % 3 == 0 ? 4 * kCall_s : kCall_s);
                },
                1),
            "");
}

TEST(MeasuredCall, RejectsAResultThatIsRememberedByContent) {
  std::vector<std::byte> x;
  std::vector<std::byte> y;
  const std::string failure = failure_of(
      [&](const Call& call, const Tensor& w) {
        const Tensor& in = call.in[0];
        const Tensor& out = call.out[0];
        if (x.size() == in.bytes() && std::memcmp(x.data(), in.data, in.bytes()) == 0) {
          std::memcpy(out.data, y.data(), out.bytes());
          return;
        }
        toy::compute(call, w);
        spin(kCall_s);
        x.assign(in.data, in.data + in.bytes());
        y.assign(out.data, out.data + out.bytes());
      },
      4);
  EXPECT_EQ(failure.substr(0, failure.find(':')), "cached") << failure;
}

}  // namespace
}  // namespace pareto
