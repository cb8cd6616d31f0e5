// Threads and floating-point modes of this process, before and after somebody else's code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/thread_pool.h"

namespace pareto {

/// Control bits of MXCSR (rounding, masks, flush-to-zero, denormals-are-zero) and of the x87 unit.
std::uint32_t fp_modes();
void set_fp_modes(std::uint32_t modes);
/// "" or "flush-to-zero left on, rounding towards zero left on".
std::string fp_modes_difference(std::uint32_t before, std::uint32_t after);
/// The same on every member of a pool: "" or the first difference; restores the modes.
std::string restore_fp_modes(ThreadPool& pool, std::uint32_t wanted);

/// Ids of this process's threads, ascending.
std::vector<int> thread_ids();

/// Returns when every other thread of this process sleeps, or after `at_most_s`: threads that spin
/// after one variant's call would take the processors of the next one's. True if they all sleep.
bool wait_until_others_sleep(double at_most_s);

/// Notices threads that outlive a call: those that were not there at construction.
class ThreadWatch {
 public:
  ThreadWatch();
  /// "" or the names of the new threads that have not gone 20 ms later.
  [[nodiscard]] std::string still_running() const;

 private:
  std::vector<int> before_;  ///< thread ids, ascending
};

/// Processor time that a call spent on threads which were not there when it began: a variant may
/// use the team that it is given and no more.
class ProcessorWatch {
 public:
  ProcessorWatch();
  struct Use {
    double all_s = 0;
    double hidden_s = 0;  ///< that no thread of then accounts for; a little below 0 if none is
  };
  /// Since construction.
  [[nodiscard]] Use since() const;

 private:
  struct Thread {
    int id;
    double used_s;
  };
  std::vector<Thread> threads_;
  double process_s_ = 0;
};

}  // namespace pareto
