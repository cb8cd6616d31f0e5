// Stores of vector registers to the stack in hot functions, read from this program's own machine
// code: GCC spills accumulators without a warning.
#pragma once

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>

namespace pareto {

/// Why spills cannot be counted here; empty if they can.
inline std::string spills_not_countable() {
#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return "this build is not optimized, or instrumented";
#else
  return std::system("objdump --version > /dev/null 2>&1") == 0 ? "" : "needs objdump";
#endif
}

inline bool is_heading_of(const std::string& line, std::span<const char* const> names) {
  if (line.empty() || line.back() != ':' || line.find(" <") == std::string::npos) return false;
  for (const char* name : names) {
    if (line.find(name) != std::string::npos) return true;
  }
  return false;
}

inline bool stores_vector_to_stack(const std::string& line) {
  const std::size_t stack = line.rfind("(%rsp)");
  const std::size_t wide = line.find("mm");
  // AT&T syntax: the destination comes last.
  return stack != std::string::npos && wide != std::string::npos && wide < stack &&
         stack + 6 == line.size() && (line[wide - 1] == 'z' || line[wide - 1] == 'y');
}

/// Per function whose name holds one of `names` ("dense_tile<"): its stores of ymm and zmm
/// registers to the stack.
inline std::map<std::string, int> spills_of(std::span<const char* const> names) {
  std::map<std::string, int> spills;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(
      popen("objdump -d -C --no-show-raw-insn /proc/$PPID/exe", "r"), pclose);
  if (pipe == nullptr) return spills;
  std::string function;
  std::string line;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) {
    line += buffer.data();
    if (line.back() != '\n') continue;
    line.pop_back();
    if (!line.empty() && line.back() == ':') {
      function = is_heading_of(line, names) ? line : "";
      if (!function.empty()) spills[function] += 0;
    } else if (!function.empty() && stores_vector_to_stack(line)) {
      ++spills[function];
    }
    line.clear();
  }
  return spills;
}

}  // namespace pareto
