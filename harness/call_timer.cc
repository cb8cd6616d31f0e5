#include "harness/call_timer.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "harness/clock.h"
#include "harness/device.h"
#include "harness/stopping.h"

namespace pareto {
namespace {

class HostTimer : public CallTimer {
 public:
  double time(const std::function<void()>& calls,
              const std::function<void(bool)>& /*recorded*/) override {
    const double start_s = now_s();
    calls();
    return now_s() - start_s;
  }
  [[nodiscard]] Repeated repeated(const std::function<void()>& calls) const override {
    return {.run = calls, .times = 1};
  }
};

// Starting a graph takes some microseconds between the two events: a sample of this length keeps
// them below a percent.
constexpr double kShortestSampleS = 1e-3;
// A GPU that gets hot or reaches its power limit lowers its clock.
constexpr double kThrottledFraction = 0.75;
// Waiting for an idle device returns within microseconds, unless the host's thread loses its core.
constexpr double kBusyS = 200e-6;
constexpr int kAttempts = 4;
// Of at least kShortestSampleS each: waiting for them all costs a thousandth.
constexpr int kRepeats = 20;

class DeviceTimer : public CallTimer {
 public:
  double time(const std::function<void()>& calls,
              const std::function<void(bool)>& recorded) override {
    DeviceTime last;
    bool always_busy = true;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const std::unique_ptr<Recording> recording = device().record(calls);
      if (attempt == 0) recorded(recording->empty());
      last = device().time(*recording);
      const bool busy = last.busy_after_s > kBusyS;
      const bool slow = last.sm_clock_hz < kThrottledFraction * clock_hz();  // NaN: never
      always_busy = always_busy && busy;
      if (slow) ++throttled_;
      if (!busy && !slow) break;
    }
    if (std::isfinite(last.sm_clock_hz)) clocks_hz_.push_back(last.sm_clock_hz);
    if (always_busy && failure_.empty()) {
      failure_ = fmt::format(
          "late: work deferred past the timer: the device was busy for another {:.0f} us after the "
          "stream had finished",
          1e6 * last.busy_after_s);
    }
    return last.seconds;
  }
  [[nodiscard]] Repeated repeated(const std::function<void()>& calls) const override {
    const std::shared_ptr<Recording> recording = device().record(calls);
    return {.run = [recording] { device().repeat(*recording, kRepeats); }, .times = kRepeats};
  }
  [[nodiscard]] double shortest_sample_s() const override { return kShortestSampleS; }
  [[nodiscard]] std::string failure() const override { return failure_; }
  [[nodiscard]] std::int64_t throttled() const override { return throttled_; }
  [[nodiscard]] double clock_hz() const override {
    return clocks_hz_.empty() ? std::numeric_limits<double>::quiet_NaN() : median_of(clocks_hz_);
  }

 private:
  std::vector<double> clocks_hz_;
  std::int64_t throttled_ = 0;
  std::string failure_;
};

}  // namespace

double CallTimer::clock_hz() const { return std::numeric_limits<double>::quiet_NaN(); }

std::unique_ptr<CallTimer> host_timer() { return std::make_unique<HostTimer>(); }
std::unique_ptr<CallTimer> device_timer() { return std::make_unique<DeviceTimer>(); }

}  // namespace pareto
