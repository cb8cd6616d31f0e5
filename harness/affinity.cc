#include "harness/affinity.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "harness/machine.h"
#include "harness/thread_pool.h"

namespace pareto {
namespace {

cpu_set_t affinity_now() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  return set;
}

}  // namespace

const cpu_set_t& start_affinity() {
  static const cpu_set_t set = affinity_now();
  return set;
}

namespace {
// Asked before main, whoever pins first.
[[maybe_unused]] const cpu_set_t& kAtStart = start_affinity();
}  // namespace

void unpin_this_thread() {
  sched_setaffinity(0, sizeof(cpu_set_t), &start_affinity());  // where refused, it is only slower
}

AffinityScope::AffinityScope(int threads, bool widen) {
  if (!widen || sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
  cpu_set_t wide;
  CPU_ZERO(&wide);
  for (const int cpu : this_machine().pinning(threads)) CPU_SET(cpu, &wide);
  widened_ = sched_setaffinity(0, sizeof(wide), &wide) == 0;
}

AffinityScope::~AffinityScope() {
  if (widened_) sched_setaffinity(0, sizeof(before_), &before_);
}

void pin_library_threads(std::span<const int> cpus) {
  if (cpus.size() < 2) return;
  std::size_t next = 0;
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
    const int id = std::atoi(task.path().filename().c_str());
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (id == getpid() || name == kPoolThreadName) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpus[1 + next++ % (cpus.size() - 1)], &one);
    sched_setaffinity(id, sizeof(one), &one);  // a thread that has just ended is no error
  }
}

}  // namespace pareto
