#include "harness/clock_watch.h"

#include <sys/syscall.h>

#include <cmath>
#include <ctime>

#include "harness/clock.h"

namespace pareto {

double kernel_now_s() {
  timespec time{};
  long status = SYS_clock_gettime;
  asm volatile("syscall"
               : "+a"(status)
               : "D"(static_cast<long>(CLOCK_MONOTONIC_RAW)), "S"(&time)
               : "rcx", "r11", "memory");
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The kernel's interval encloses the other one.
void ClockWatch::begin() {
  kernel_begin_s_ = kernel_now_s();
  begin_s_ = now_s();
}

void ClockWatch::end() {
  // A read takes a microsecond at most, on virtual machines; a clock worth replacing hides more.
  constexpr double kReadingS = 5e-6;
  constexpr double kShare = 0.1;
  const double elapsed = now_s() - begin_s_;
  const double kernel_elapsed = kernel_now_s() - kernel_begin_s_;
  ++intervals_;
  if (std::abs(kernel_elapsed - elapsed) > kReadingS + kShare * kernel_elapsed) ++different_;
}

// An interruption between two reads explains one interval or another, but not most of them.
bool ClockWatch::agree() const { return different_ < 2 || 2 * different_ <= intervals_; }

}  // namespace pareto
