// Runs a function in a process of its own, so that a crash or a hang is a message and not the end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "harness/errors.h"

namespace pareto {

/// How a child ended.
enum class ChildEnd : std::uint8_t {
  kReturned,  ///< the body returned; `value` holds its string
  kError,     ///< the body threw; `message` and `code` hold what and which
  kFault,     ///< a signal or an early exit; `message` says which and where
  kTimeout,   ///< killed after the limit
};

struct ChildResult {
  ChildEnd end = ChildEnd::kReturned;
  std::string value;
  std::string message;  ///< one line; empty if the body returned
  ExitCode code = ExitCode::kGood;
};

/// Forks, runs `body` in the child and returns its string. The child leads a process group of its
/// own, dies with its parent, and its whole group is killed when it ends or when `timeout_s` is
/// over (≤ 0: no limit). The child has only the calling thread: make pools inside `body`. Call it
/// before the process has started threads or touched CUDA. Throws MachineError if fork fails.
ChildResult run_isolated(const std::function<std::string()>& body, double timeout_s);

/// Turns SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT and SIGSYS of this process into one line on `fd`
/// and exit status 4; the line names the operand whose guard was touched. run_isolated installs it.
void report_faults_to(int fd);

/// For failures that leave this process unusable without a signal (a device that is lost): in a
/// child of run_isolated, reports `text` like a fault and ends the process; elsewhere returns.
void end_as_crashed(const std::string& text) noexcept;
/// Ends a child of run_isolated as a fault does, with `message`; elsewhere throws Error.
[[noreturn]] void end_as_fault(const std::string& message);

/// False in a child of run_isolated that can no longer tell its result: somebody closed the pipe.
bool can_report();

/// What the process is about to do ("input exact, 2 threads"): put before the line of a fault.
void set_fault_context(const std::string& context);

}  // namespace pareto
