#include "harness/clock_watch.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <x86intrin.h>

#include <cmath>
#include <ctime>
#include <limits>

#include "harness/clock.h"

namespace pareto {
namespace {

// A read takes a microsecond at most, on virtual machines; a clock worth replacing hides more.
constexpr double kReadingS = 5e-6;
constexpr double kShare = 0.1;

// Older processors count cycles, whose length changes with the frequency.
bool counter_is_steady() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned kPowerLeaf = 0x80000007;
  constexpr unsigned kInvariant = 1U << 8;
  return __get_cpuid(kPowerLeaf, &eax, &ebx, &ecx, &edx) != 0 && (edx & kInvariant) != 0;
}

}  // namespace

double kernel_now_s() {
  timespec time{};
  long status = SYS_clock_gettime;
  asm volatile("syscall"
               : "+a"(status)
               : "D"(static_cast<long>(CLOCK_MONOTONIC_RAW)), "S"(&time)
               : "rcx", "r11", "memory");
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::uint64_t counter_now() { return __rdtsc(); }

ClockReading read_both(const std::function<double()>& now) {
  constexpr int kTries = 8;
  ClockReading closest;
  double least_s = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kTries && least_s > kReadingS; ++i) {
    const double before = now();
    const std::uint64_t count = counter_now();
    const double between_s = now() - before;
    if (between_s >= least_s) continue;
    least_s = between_s;
    closest = {before, count};
  }
  return closest;
}

// The kernel's interval encloses the other one.
void ClockWatch::begin() {
  kernel_begin_s_ = kernel_now_s();
  begin_s_ = now_s();
}

void ClockWatch::end() {
  const double elapsed = now_s() - begin_s_;
  const double kernel_elapsed = kernel_now_s() - kernel_begin_s_;
  ++intervals_;
  if (std::abs(kernel_elapsed - elapsed) > kReadingS + kShare * kernel_elapsed) ++different_;
}

void ClockWatch::add(double seconds, std::uint64_t counts) { added_.push_back({seconds, counts}); }

// An interruption between two reads explains one interval or another, but not most of them.
bool ClockWatch::agree() const {
  if (different_ >= 2 && 2 * different_ > intervals_) return false;
  const ClockReading end = read_both();
  const double elapsed = end.seconds - start_.seconds;
  constexpr double kLongEnoughS = 1e-3;  // to know the counter's rate
  if (!counter_is_steady() || elapsed < kLongEnoughS) return true;
  const double per_count = elapsed / static_cast<double>(end.count - start_.count);
  std::size_t apart = 0;
  for (const Interval& interval : added_) {
    const double counted = static_cast<double>(interval.counts) * per_count;
    if (std::abs(counted - interval.seconds) > kReadingS + kShare * counted) ++apart;
  }
  return apart < 2 || 2 * apart <= added_.size();
}

}  // namespace pareto
