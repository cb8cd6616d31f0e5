// Measuring: every probe in turn, several times over, keeping the best.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "harness/aligned_buffer.h"
#include "harness/ceiling_probes.h"
#include "harness/ceilings.h"
#include "harness/clock.h"
#include "harness/device_ceilings.h"
#include "harness/machine.h"
#include "harness/thread_pool.h"

namespace pareto {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20U;
constexpr double kFullBudget_s = 6;
constexpr double kQuickBudget_s = 1.2;
// Where threads share cores, a host moves them apart within seconds, if at all.
constexpr int kMostAgain = 3;
constexpr std::chrono::milliseconds kBeforeAgain{300};
// One run of one probe: short enough that many fit between two interruptions by other processes.
constexpr double kProbe_s = 0.4e-3;
// However small the budget is: in a single round an interruption is taken for the machine's rate.
constexpr int kLeastRounds = 5;
// What a repeat reads of a DRAM region, one window after the other.
constexpr std::int64_t kWindow = 2 * kMiB;

enum class Pattern { kRead, kReadEightStreams, kCopy };

/// A ceiling to be measured: a compute loop, or memory access that walks through `bytes` per
/// thread, `window` at a time.
struct Task {
  std::string name;
  const ComputeProbe* compute = nullptr;
  Pattern pattern = Pattern::kRead;
  std::int64_t bytes = 0;
  std::int64_t window = 0;
};

std::int64_t grains(double bytes) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(bytes) / kMemoryGrain) * kMemoryGrain;
}

// Bytes per thread whose reading shows this level: half of L1 and L2; of L3 half of a thread's
// share, but at least twice L2, or it would be L2 that answers. 0: the machine lacks the level.
std::int64_t level_bytes(int level, int threads) {
  const Machine& machine = this_machine();
  const auto own = static_cast<double>(machine.cache_bytes(level));
  if (own == 0) return 0;
  if (level < 3) return grains(own / 2);
  const auto share = static_cast<double>(machine.cache_bytes(level, threads)) / threads;
  return grains(std::max(share / 2, 2.0 * static_cast<double>(machine.cache_bytes(2))));
}

std::int64_t last_level_bytes(int threads) {
  std::int64_t bytes = 0;
  for (const Cache& cache : this_machine().caches) {
    bytes = this_machine().cache_bytes(cache.level, threads);
  }
  return bytes;
}

// Four times what these threads can fill of the last level, as far as memory allows.
std::int64_t dram_bytes(int threads) {
  constexpr std::int64_t kLeast = 64 * kMiB;
  constexpr std::int64_t kMost = 1024 * kMiB;
  const std::int64_t wanted = std::clamp(4 * last_level_bytes(threads), kLeast, kMost);
  const std::int64_t total = std::min(wanted, available_memory_bytes() / 4);
  // In whole windows, and two of them at least for a copy.
  return std::max<std::int64_t>(2, total / threads / (2 * kWindow) * 2) * kWindow;
}

std::vector<Task> tasks(int threads) {
  std::vector<Task> all;
  std::set<std::string_view> seen;
  for (const ComputeProbe& probe : compute_probes()) {
    if ((probe.needs & ~isa_here()) != 0 || !seen.insert(probe.name).second) continue;
    all.push_back({.name = std::string(probe.name), .compute = &probe});
  }
  const auto add = [&all](const std::string& name, Pattern pattern, std::int64_t bytes,
                          std::int64_t window) {
    if (bytes == 0) return;
    all.push_back({.name = name, .pattern = pattern, .bytes = bytes, .window = window});
  };
  for (const int level : {1, 2, 3}) {
    const std::int64_t bytes = level_bytes(level, threads);
    const std::string name = fmt::format("read_l{}", level);
    add(name, Pattern::kRead, bytes, bytes);
    add(name + "_8streams", Pattern::kReadEightStreams, bytes, bytes);
  }
  const std::int64_t region = dram_bytes(threads);
  add("read_dram", Pattern::kRead, region, kWindow);
  add("read_dram_8streams", Pattern::kReadEightStreams, region, kWindow);
  add("copy_dram", Pattern::kCopy, region, kWindow);
  return all;
}

/// One team with its memory.
class Team {
 public:
  Team(int threads, std::int64_t bytes)
      : threads_(threads),
        pool_(threads, this_machine().pinning(threads)),
        operands_(static_cast<std::int64_t>(kProbeOperandBytes)),
        members_(static_cast<std::size_t>(threads)) {
    // fp32 and bf16 read them as numbers from 1 to 2, int8 as anything.
    std::uint32_t random = 1;
    for (std::int64_t i = 0; i < operands_.size(); i += 2) {
      random = random * 1664525U + 1013904223U;
      operands_[i] = std::byte(0x80U | (random >> 25U));
      operands_[i + 1] = std::byte{0x3f};
    }
    if (bytes > 0) touch(bytes);
  }

  Ceiling measure(const Task& task) {
    // A run that is too short says more about the start of the threads than about the probe.
    std::int64_t& repeats = repeats_.try_emplace(task.name, 1).first->second;
    double seconds = run(task, repeats);
    while (shortest_member_s() < kProbe_s / 2) {
      constexpr double kLargestStep = 50;
      const double step = std::min(kLargestStep, kProbe_s / shortest_member_s());
      repeats = static_cast<std::int64_t>(std::ceil(static_cast<double>(repeats) * step));
      seconds = run(task, repeats);
    }
    const double clock_hz = core_clock_hz();
    const double work = static_cast<double>(repeats) * threads_ / seconds;
    if (task.compute == nullptr) {
      const int directions = task.pattern == Pattern::kCopy ? 2 : 1;
      return {work * directions * static_cast<double>(task.window)};
    }
    return {work * task.compute->operations,
            work * task.compute->instructions / threads_ / clock_hz};
  }

 private:
  struct alignas(64) Member {
    AlignedBuffer<std::byte> memory;
    std::int64_t offset = 0;  ///< of the next window
    double start_s = 0;
    double end_s = 0;
  };

  // Every thread touches its own memory, so that it lies on the thread's own node.
  void touch(std::int64_t bytes) {
    for (Member& member : members_) member.memory = AlignedBuffer<std::byte>(bytes);
    pool_.run([this](int thread, int) {
      const auto touched = members_[static_cast<std::size_t>(thread)].memory.span();
      std::memset(touched.data(), 1, touched.size());
    });
  }

  // Seconds from the first member's start to the last one's end.
  double run(const Task& task, std::int64_t repeats) {
    std::atomic<int> missing{threads_};
    pool_.run([this, &task, &missing, repeats](int thread, int) {
      Member& member = members_[static_cast<std::size_t>(thread)];
      const bool cached = task.compute == nullptr && task.window == task.bytes;
      if (cached) move_memory(task, 1, member);  // the probes before have thrown it out
      missing.fetch_sub(1);
      while (missing.load() > 0) __builtin_ia32_pause();
      member.start_s = now_s();
      if (task.compute != nullptr) {
        task.compute->run(repeats, operands_.data());
      } else {
        move_memory(task, repeats, member);
      }
      member.end_s = now_s();
    });
    double start_s = members_[0].start_s;
    double end_s = members_[0].end_s;
    for (const Member& member : members_) {
      start_s = std::min(start_s, member.start_s);
      end_s = std::max(end_s, member.end_s);
    }
    return end_s - start_s;
  }

  [[nodiscard]] double shortest_member_s() const {
    double shortest_s = std::numeric_limits<double>::infinity();
    for (const Member& member : members_) {
      shortest_s = std::min(shortest_s, member.end_s - member.start_s);
    }
    return shortest_s;
  }

  static void move_memory(const Task& task, std::int64_t repeats, Member& member) {
    const MemoryProbe& probe = memory_probe();
    const std::int64_t region = task.pattern == Pattern::kCopy ? task.bytes / 2 : task.bytes;
    for (std::int64_t i = 0; i < repeats; ++i) {
      if (member.offset + task.window > region) member.offset = 0;
      std::byte* data = member.memory.data() + member.offset;
      member.offset += task.window;
      if (task.pattern == Pattern::kRead) {
        probe.read(data, task.window);
      } else if (task.pattern == Pattern::kReadEightStreams) {
        probe.read_8streams(data, task.window);
      } else {
        probe.copy(data + region, data, task.window);
      }
    }
  }

  int threads_;
  ThreadPool pool_;
  AlignedBuffer<std::byte> operands_;
  std::vector<Member> members_;
  std::map<std::string, std::int64_t> repeats_;
};

std::vector<std::string> host_ceilings() {
  std::vector<std::string> names;
  for (const Task& task : tasks(1)) names.push_back(task.name);
  return names;
}

// All tasks round and round until the time is over, `kLeastRounds` at least; the best of each.
void measure_team(int threads, std::span<const std::string> names, double budget_s,
                  Ceilings& ceilings) {
  const double start_s = now_s();
  std::vector<Task> wanted = tasks(threads);
  std::erase_if(wanted, [names](const Task& task) {
    return std::find(names.begin(), names.end(), task.name) == names.end();
  });
  std::int64_t bytes = 0;
  for (const Task& task : wanted) bytes = std::max(bytes, task.bytes);
  Team team(threads, bytes);
  std::map<std::string, Ceiling> best;
  for (int round = 0; round < kLeastRounds || now_s() - start_s < budget_s; ++round) {
    for (const Task& task : wanted) {
      const Ceiling ceiling = team.measure(task);
      if (ceiling.rate > best[task.name].rate) best[task.name] = ceiling;
    }
  }
  for (const auto& [name, ceiling] : best) ceilings.set(name, threads, ceiling);
}

}  // namespace

double core_clock_hz() {
  constexpr std::int64_t kCount = 256;
  constexpr double kCycles = 3.0 * 64 * kCount;
  constexpr int kRepeats = 3;  // an interrupt only makes one of them longer
  double best_hz = 0;
  for (int i = 0; i < kRepeats; ++i) {
    const double start_s = now_s();
    run_multiplication_chain(kCount);
    best_hz = std::max(best_hz, kCycles / (now_s() - start_s));
  }
  return best_hz;
}

std::vector<int> default_thread_counts() {
  const int cores = this_machine().cores;
  std::vector<int> counts;
  for (int threads = 1; threads < cores; threads *= 2) counts.push_back(threads);
  counts.push_back(cores);
  return counts;
}

std::vector<std::string> measurable_ceilings() {
  std::vector<std::string> names = host_ceilings();
  for (const std::string& name : device_ceiling_names()) names.push_back(name);
  return names;
}

Ceilings measure_ceilings(bool quick) {
  Ceilings ceilings =
      measure_ceilings({}, default_thread_counts(), quick ? kQuickBudget_s : kFullBudget_s);
  std::vector<int> crowded = ceilings.crowded();
  for (int again = 0; again < kMostAgain && !crowded.empty(); ++again) {
    std::this_thread::sleep_for(kBeforeAgain);
    ceilings.keep_best(measure_ceilings(host_ceilings(), crowded, kQuickBudget_s));
    crowded = ceilings.crowded();
  }
  cache_ceilings(ceilings);
  return ceilings;
}

Ceilings measure_ceilings(std::span<const std::string> names, std::span<const int> thread_counts,
                          double budget_s) {
  Ceilings ceilings;
  std::vector<std::string> of_device;
  std::vector<std::string> of_host;
  for (const std::string& name :
       names.empty() ? measurable_ceilings() : std::vector(names.begin(), names.end())) {
    (is_device_ceiling(name) ? of_device : of_host).push_back(name);
  }
  if (!of_host.empty()) {
    for (const int threads : thread_counts) {
      measure_team(threads, of_host, budget_s / static_cast<double>(thread_counts.size()),
                   ceilings);
    }
  }
  for (const auto& [name, rate] : measure_device_ceilings(of_device, budget_s)) {
    ceilings.set(name, 1, {.rate = rate});
  }
  return ceilings;
}

}  // namespace pareto
