// The clock of every measurement.
#pragma once

#include <ctime>

namespace pareto {

/// Seconds on a clock that nobody adjusts (CLOCK_MONOTONIC_RAW), from an arbitrary origin. Ordered:
/// earlier instructions have finished. One read costs about 25 ns, 0.3 % of the shortest sample.
inline double now_s() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC_RAW, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace pareto
