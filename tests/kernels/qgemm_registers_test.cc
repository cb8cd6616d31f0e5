// GCC spills accumulators without a warning. The tile functions must keep theirs: no vector
// register is stored to the stack anywhere in them. Read from this program's own machine code.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

namespace pareto {
namespace {

// avx2's group tiles are left out: their fp32 sums wait in memory during a group, as 16 registers
// hold no more.
constexpr std::array<const char*, 4> kHotFunctions = {"dword_tile_avx512<", "group_tile_avx512<",
                                                      "nibble_tile_avx512<", "step_tile_avx2<"};

std::string hot_function(const std::string& line) {
  if (line.empty() || line.back() != ':' || line.find(" <") == std::string::npos) return "";
  for (const char* name : kHotFunctions) {
    if (line.find(name) != std::string::npos) return line;
  }
  return "";
}

bool stores_vector_to_stack(const std::string& line) {
  const std::size_t stack = line.rfind("(%rsp)");
  const std::size_t wide = line.find("mm");
  // AT&T syntax: the destination comes last.
  return stack != std::string::npos && wide != std::string::npos && wide < stack &&
         stack + 6 == line.size() && (line[wide - 1] == 'z' || line[wide - 1] == 'y');
}

TEST(QgemmRegisters, HotTilesDoNotSpill) {
#if !defined(__OPTIMIZE__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "this build is not optimized, or instrumented";
#endif
  if (std::system("objdump --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "needs objdump";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(
      popen("objdump -d -C --no-show-raw-insn /proc/$PPID/exe", "r"), pclose);
  ASSERT_NE(pipe, nullptr);
  std::map<std::string, int> spills;
  std::string function;
  std::string line;
  std::array<char, 4096> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) {
    line += buffer.data();
    if (line.back() != '\n') continue;
    line.pop_back();
    if (!line.empty() && line.back() == ':') {
      function = hot_function(line);
      if (!function.empty()) spills[function] += 0;
    } else if (!function.empty() && stores_vector_to_stack(line)) {
      ++spills[function];
    }
    line.clear();
  }
  // 3 dword types, 4 group formats and 5 nibble formats, with and without prefetch, and avx2's two.
  EXPECT_GE(spills.size(), 3U * 24 + 4 * 10 + 5 * 12 + 2 * 12);
  for (const auto& [name, count] : spills) EXPECT_EQ(count, 0) << name;
}

}  // namespace
}  // namespace pareto
