// Notices a program whose clock has been replaced: a variant is code in the same process and could
// define clock_gettime itself.
#pragma once

namespace pareto {

/// Seconds of the clock of clock.h, asked of the kernel without the C library in between; some
/// hundreds of ns a read.
double kernel_now_s();

/// Compares both clocks over the intervals between begin and end.
class ClockWatch {
 public:
  void begin();
  void end();
  /// False if the clocks differ by more than reading them can explain in most intervals.
  [[nodiscard]] bool agree() const;

 private:
  double begin_s_ = 0;
  double kernel_begin_s_ = 0;
  int intervals_ = 0;
  int different_ = 0;
};

}  // namespace pareto
