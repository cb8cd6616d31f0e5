// State of the process that every variant shares: a kernel must leave it as it found it, or those
// that are measured after it suffer.
#pragma once

#include <sched.h>

#include <array>
#include <csignal>
#include <string>
#include <vector>

namespace pareto {

/// Processors and scheduling of every thread, and who handles faults, at construction.
class ProcessState {
 public:
  ProcessState();
  /// "" or what has changed since, in words; then puts it back.
  [[nodiscard]] std::string restore() const;

 private:
  struct Thread {
    int id = 0;
    cpu_set_t processors{};
    int policy = 0;
    int nice = 0;
  };
  static Thread state_of(int id);
  std::vector<Thread> threads_;
  static constexpr std::array kFaults = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
  std::array<struct sigaction, kFaults.size()> handlers_{};
};

}  // namespace pareto
