// Variants on a device through buffers, checks and timing, with host memory as the device.
#include "harness/device.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "harness/check_battery.h"
#include "harness/crash.h"
#include "harness/device_tensor.h"
#include "harness/measured_call.h"
#include "harness/poison.h"
#include "tests/harness/fake_device.h"
#include "tests/harness/toy_op.h"

namespace pareto {
namespace {

class DeviceTest : public testing::Test {
 protected:
  DeviceTest() {
    auto made = std::make_unique<FakeDevice>();
    fake_ = made.get();
    use_device(std::move(made));
  }
  ~DeviceTest() override { use_device(nullptr); }
  FakeDevice* fake_ = nullptr;
};

FakeDevice& fake() { return static_cast<FakeDevice&>(device()); }

// A toy variant whose calls start work on the device; `what` is that work.
using DeviceBody = std::function<void(const Tensor& x, const Tensor& w, const Tensor& y)>;

DeviceBody& device_body() {
  static DeviceBody current;
  return current;
}

class PreparedOnDevice : public Prepared {
 public:
  void run(const Call& call) override {
    fake().start([x = call.in[0], w = call.in[1], y = call.out[0]] { device_body()(x, w, y); });
  }
};

Variant device_variant(DeviceBody what) {
  device_body() = std::move(what);
  Variant variant = toy::variant(toy::compute);
  variant.needs_cuda = 80;
  variant.keeps_operands = true;
  variant.prepare = [](const Problem&, std::span<const Tensor>,
                       ThreadPool&) -> std::unique_ptr<Prepared> {
    return std::make_unique<PreparedOnDevice>();
  };
  return variant;
}

/// The same with calls that are made in another way.
template <typename Kind>
Variant variant_prepared_as(DeviceBody what) {
  Variant variant = device_variant(std::move(what));
  variant.prepare = [](const Problem&, std::span<const Tensor>,
                       ThreadPool&) -> std::unique_ptr<Prepared> {
    return std::make_unique<Kind>();
  };
  return variant;
}

void multiply(const Tensor& x, const Tensor& w, const Tensor& y) { toy::Op::multiply(x, w, y, 0); }

CheckReport check(const Variant& variant) {
  ThreadPool pool(1);
  return check_variant(variant, Problem(toy::op()), pool, {});
}

TEST_F(DeviceTest, TensorsGoThereAndBack) {
  HostTensor host(DType::kBf16, {3, 5});
  for (std::uint16_t& value : host.span<std::uint16_t>()) value = 0x3f80;
  for (const Layout layout : {Layout::kGuardBefore, Layout::kGuardAfter, Layout::kTimed}) {
    DeviceTensor tensor("x", host.dtype(), host.shape(), layout);
    tensor.fill(host.view());
    const std::uint64_t hash = tensor.content_hash();
    HostTensor copy(host.dtype(), host.shape());
    tensor.read(copy.view());
    EXPECT_EQ(std::memcmp(copy.view().data, host.view().data, host.view().bytes()), 0);
    EXPECT_EQ(tensor.damage(), "");
    tensor.poison();
    EXPECT_NE(tensor.content_hash(), hash);
    tensor.read(copy.view());
    EXPECT_EQ(count_poison(copy.view()), copy.elements());
  }
}

TEST_F(DeviceTest, WritingBehindATensorIsNoticed) {
  const DeviceTensor tensor("y", DType::kF32, {4}, Layout::kTimed);
  fake().start([&] { tensor.view().as<float>()[4] = 1; });
  device().synchronize();
  EXPECT_EQ(tensor.damage(), "4 bytes behind y were overwritten");
}

TEST_F(DeviceTest, AnHonestVariantPassesTheBattery) {
  const CheckReport report = check(device_variant(multiply));
  EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
  EXPECT_GT(report.n_compared, 0);
}

TEST_F(DeviceTest, WrongResultsAreRejected) {
  const CheckReport report = check(device_variant(
      [](const Tensor& x, const Tensor& w, const Tensor& y) { toy::Op::multiply(x, w, y, 1); }));
  EXPECT_EQ(report.check, "exact") << report.message;
}

TEST_F(DeviceTest, UnwrittenElementsAreRejected) {
  const CheckReport report =
      check(device_variant([](const Tensor& x, const Tensor& w, const Tensor& y) {
        const float kept = y.as<float>()[1];
        multiply(x, w, y);
        std::memcpy(y.as<float>() + 1, &kept, sizeof(kept));
      }));
  EXPECT_EQ(report.status, CheckStatus::kFail);
  EXPECT_EQ(report.check, "written") << report.message;
}

TEST_F(DeviceTest, ChangedOperandsAreRejected) {
  const CheckReport report =
      check(device_variant([](const Tensor& x, const Tensor& w, const Tensor& y) {
        multiply(x, w, y);
        x.as<float>()[0] += 1;
      }));
  EXPECT_EQ(report.check, "operands") << report.message;
}

TEST_F(DeviceTest, WritingOutsideIsRejected) {
  const CheckReport report =
      check(device_variant([](const Tensor& x, const Tensor& w, const Tensor& y) {
        multiply(x, w, y);
        y.as<float>()[y.elements()] = 0;
      }));
  EXPECT_EQ(report.check, "guard") << report.message;
}

TEST_F(DeviceTest, LackOfDeviceMemoryIsAReasonNotAnEnd) {
  EXPECT_THROW(DeviceTensor("x", DType::kF32, {1 << 15, 1 << 15}, Layout::kTimed), CannotRunError);
}

struct Timed {
  Case subject;
  Contents contents;
  ThreadPool pool;
  MeasuredCall call;

  Timed(const Variant& variant, const std::string& cache)
      : subject(case_of(variant, cache)),
        contents(subject.problem, subject.source, 3, 1),
        pool(1),
        call(subject, contents, pool) {}

  static Case case_of(const Variant& variant, const std::string& cache) {
    Case made;
    made.variant = &variant;
    made.problem = Problem(toy::op());
    made.source = {.distribution = "normal", .seed = 1};
    made.cache = cache;
    return made;
  }
  void visits(int count) {
    for (int i = 0; i < count; ++i) {
      call.begin_visit();
      EXPECT_GT(call.sample(3), 0);
      call.end_visit();
    }
  }
};

TEST_F(DeviceTest, TimedCallsAreRecordedRunAndAudited) {
  const Variant variant = device_variant(multiply);
  for (const char* cache : {"warm", "cold"}) {
    Timed timed(variant, cache);
    EXPECT_EQ(timed.call.failure(), "");
    EXPECT_EQ(timed.call.shortest_sample_s(), 1e-3);
    timed.visits(40);
    EXPECT_EQ(timed.call.failure(), "");
    EXPECT_LT(timed.call.agreement().kernel.rel_fro, 1e-6);
    EXPECT_EQ(timed.call.sets() > 10, std::string(cache) == "cold") << timed.call.sets();
  }
}

TEST_F(DeviceTest, TimedCallsThatAreRightOnlyAtFirstAreRefused) {
  int calls = 0;
  const Variant variant =
      device_variant([&calls](const Tensor& x, const Tensor& w, const Tensor& y) {
        if (++calls < 20) multiply(x, w, y);
      });
  Timed timed(variant, "warm");
  timed.visits(40);
  EXPECT_NE(timed.call.failure(), "");
}

// Starts its work where the recording does not see it: it would be timed as nothing.
class PreparedElsewhere : public Prepared {
 public:
  void run(const Call& call) override {
    fake().start_elsewhere(
        [x = call.in[0], w = call.in[1], y = call.out[0]] { multiply(x, w, y); });
  }
};

TEST_F(DeviceTest, WorkOutsideOfTheStreamIsRefused) {
  const Variant variant = variant_prepared_as<PreparedElsewhere>(multiply);
  Timed timed(variant, "warm");
  timed.call.begin_visit();
  timed.call.sample(1);
  timed.call.end_visit();
  EXPECT_NE(timed.call.failure().find("late: outputs were written while"), std::string::npos)
      << timed.call.failure();
}

// Does its work until every content has been verified; what is recorded then is nothing.
class PreparedNowhere : public Prepared {
 public:
  void run(const Call& call) override {
    constexpr int kContents = 3;
    if (++calls_ > kContents) return;
    fake().start([x = call.in[0], w = call.in[1], y = call.out[0]] { multiply(x, w, y); });
  }

 private:
  int calls_ = 0;
};

TEST_F(DeviceTest, AnEmptyRecordingIsRefusedAtOnce) {
  const Variant variant = variant_prepared_as<PreparedNowhere>(multiply);
  Timed timed(variant, "warm");
  ASSERT_EQ(timed.call.failure(), "");
  // As long as a sample has to be, so that no larger batch is tried.
  EXPECT_GE(timed.call.sample(1), timed.call.shortest_sample_s());
  EXPECT_NE(timed.call.failure().find("work outside of the stream"), std::string::npos)
      << timed.call.failure();
}

TEST_F(DeviceTest, UnbrokenCallsMakeWholeRotations) {
  int calls = 0;
  const Variant variant =
      device_variant([&calls](const Tensor& x, const Tensor& w, const Tensor& y) {
        ++calls;
        multiply(x, w, y);
      });
  Timed timed(variant, "cold");
  const MeasuredCall::Unbroken unbroken = timed.call.unbroken(3);
  const auto sets = static_cast<std::int64_t>(timed.call.sets());
  EXPECT_EQ(unbroken.calls % sets, 0);
  calls = 0;
  unbroken.run();
  EXPECT_EQ(calls, unbroken.calls);
}

TEST_F(DeviceTest, ADeviceThatStaysBusyIsRefused) {
  fake_->busy_after_s = 1e-3;
  const Variant variant = device_variant(multiply);
  Timed timed(variant, "warm");
  timed.visits(1);
  EXPECT_NE(timed.call.failure().find("late: work deferred"), std::string::npos)
      << timed.call.failure();
}

TEST_F(DeviceTest, ThrottledSamplesAreTakenAgainAndCounted) {
  fake_->clocks_hz = {1.98e9, 1.98e9, 1.98e9, 1.98e9, 1.2e9, 1.98e9, 1.98e9, 1.98e9};
  const Variant variant = device_variant(multiply);
  Timed timed(variant, "warm");
  timed.visits(16);
  EXPECT_GT(timed.call.timer().throttled(), 0);
  EXPECT_EQ(timed.call.timer().clock_hz(), 1.98e9);
  EXPECT_EQ(timed.call.failure(), "");
}

TEST_F(DeviceTest, CapabilitiesAreComparedInWords) {
  EXPECT_EQ(device_missing(80), "");
  EXPECT_EQ(device_missing(90), "needs CUDA 9.0; fake has 8.0");
}

TEST(DeviceFaults, ALostDeviceIsTheCrashOfItsChild) {
  const ChildResult child = run_isolated(
      []() -> std::string { device_failed("kernel", "an illegal memory access"); }, 10);
  EXPECT_EQ(child.end, ChildEnd::kFault);
  EXPECT_NE(child.message.find("device: kernel: an illegal memory access"), std::string::npos)
      << child.message;
}

TEST(DeviceFaults, ElsewhereItIsAnErrorOfTheMachine) {
  EXPECT_THROW(device_failed("kernel", "lost"), MachineError);
}

TEST(DeviceInfos, CrossAPipe) {
  DeviceInfo info;
  info.name = "NVIDIA H200";
  info.uuid = "GPU-1";
  info.capability = 90;
  info.l2_bytes = 50 << 20;
  info.power_limit_w = std::nan("");
  const DeviceInfo back = DeviceInfo::from_json(info.to_json());
  EXPECT_EQ(back.name, info.name);
  EXPECT_EQ(back.capability, 90);
  EXPECT_EQ(back.l2_bytes, info.l2_bytes);
  EXPECT_TRUE(std::isnan(back.power_limit_w));
}

}  // namespace
}  // namespace pareto
