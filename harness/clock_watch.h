// Notices a program whose clock has been replaced: a variant is code in the same process and could
// define clock_gettime itself.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace pareto {

/// Seconds of the clock of clock.h, asked of the kernel without the C library in between; some
/// hundreds of ns a read.
double kernel_now_s();

/// The processor's counter of time, which no code in the process can replace.
std::uint64_t counter_now();

/// Both at one moment.
struct ClockReading {
  double seconds = 0;
  std::uint64_t count = 0;
};

/// Reads again while the process was interrupted in between, as one that was stopped for a minute
/// is; eight times at most.
ClockReading read_both(const std::function<double()>& now = kernel_now_s);

/// Compares the clock with the kernel's over the intervals between begin and end, and with the
/// processor's counter over every interval that is added.
class ClockWatch {
 public:
  void begin();
  void end();
  /// An interval of `seconds` by the clock while the counter advanced by `counts`.
  void add(double seconds, std::uint64_t counts);
  /// False if the clocks differ by more than reading them can explain in most intervals.
  [[nodiscard]] bool agree() const;

 private:
  double begin_s_ = 0;
  double kernel_begin_s_ = 0;
  int intervals_ = 0;
  int different_ = 0;
  ClockReading start_ = read_both();
  struct Interval {
    double seconds;
    std::uint64_t counts;
  };
  std::vector<Interval> added_;
};

}  // namespace pareto
