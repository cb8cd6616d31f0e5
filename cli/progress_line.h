// Progress on stderr: one line that is overwritten on a terminal, plain lines elsewhere.
#pragma once

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace pareto {

class ProgressLine {
 public:
  /// `final` lines stay; others are overwritten, and outside a terminal left out.
  void show(const std::string& line, bool final) {
    if (!terminal_) {
      if (final) fmt::print(stderr, "{}\n", line);
      return;
    }
    fmt::print(stderr, "\r\033[K{}{}", line, final ? "\n" : "");
    std::fflush(stderr);
  }
  void clear() {
    if (terminal_) fmt::print(stderr, "\r\033[K");
  }

 private:
  bool terminal_ = isatty(STDERR_FILENO) == 1;
};

}  // namespace pareto
