// Errors that the command line turns into one line and a defined exit code.
#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace pareto {

/// Exit codes of the program; documented in README.md.
enum class ExitCode : int {
  kGood = 0,
  kCheckFailed = 1,    ///< a check failed, or a comparison regressed
  kBadInput = 2,       ///< bad arguments, file or experiment
  kCannotRun = 3,      ///< nothing that was asked for could run here
  kMachineFailed = 4,  ///< disk, memory or device failed: run again to resume
};

/// Base of every error that is meant for the user: `what()` is one complete line.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// The user's file, key or value is wrong. Name the file, the key, the value and the limit.
class InputError : public Error {
 public:
  explicit InputError(const std::string& message) : Error(ExitCode::kBadInput, message) {}
};

/// This variant does not take this problem on this machine; the message is the reason.
class CannotRunError : public Error {
 public:
  explicit CannotRunError(const std::string& message) : Error(ExitCode::kCannotRun, message) {}
};

/// Disk full, memory exhausted, device lost: repeating the command later may work.
class MachineError : public Error {
 public:
  explicit MachineError(const std::string& message) : Error(ExitCode::kMachineFailed, message) {}
};

/// The candidate with the smallest edit distance to `word`; empty when none is close.
std::string nearest_word(std::string_view word, std::span<const std::string> candidates);

/// "; did you mean 'causal'?" or "; known: a, b, c" when nothing is close.
std::string suggestion(std::string_view word, std::span<const std::string> candidates);

}  // namespace pareto
