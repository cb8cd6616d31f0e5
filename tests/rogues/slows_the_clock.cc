// Trick: the clock of the whole program is replaced by a slower one
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <ctime>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

// Nanoseconds at the first run in this process; the clock is honest until then.
std::atomic<std::int64_t> slow_since{0};

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{1000000000} * time.tv_sec + time.tv_nsec;
}

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    if (slow_since == 0) {
      timespec now{};
      clock_gettime(CLOCK_MONOTONIC_RAW, &now);
      slow_since = nanoseconds(now);
    }
    compute(call);
  }
};

const Registration registration{
    rogue::variant<Rogue>("slows_the_clock", "the program's clock is replaced by a slower one")};

}  // namespace
}  // namespace pareto

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto status = static_cast<int>(syscall(SYS_clock_gettime, clock, time));
  const std::int64_t since = pareto::slow_since;
  if (since == 0 || clock != CLOCK_MONOTONIC_RAW) return status;
  const std::int64_t shown = since + (pareto::nanoseconds(*time) - since) / 4;
  time->tv_sec = shown / 1000000000;
  time->tv_nsec = shown % 1000000000;
  return status;
}
