#include "harness/thread_pool.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "harness/affinity.h"
#include "harness/errors.h"

namespace pareto {
namespace {

using Clock = std::chrono::steady_clock;
// Long enough to bridge the gap between two calls of one sample (a dispatch to a sleeping thread
// costs some 5 to 50 µs), short enough to be quiet before the next variant is timed.
constexpr std::chrono::microseconds kSpin{50};

cpu_set_t affinity_of(pthread_t thread) {
  cpu_set_t set;
  CPU_ZERO(&set);
  pthread_getaffinity_np(thread, sizeof(set), &set);
  return set;
}

void set_affinity(pthread_t thread, const cpu_set_t& set) {
  const int status = pthread_setaffinity_np(thread, sizeof(set), &set);
  if (status != 0) {
    throw MachineError(fmt::format("cannot pin a thread to its CPU: {}", std::strerror(status)));
  }
}

void pin(pthread_t thread, int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) {
    throw MachineError(fmt::format("cannot pin a thread to CPU {} (at most {})", cpu, CPU_SETSIZE));
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  set_affinity(thread, set);
}

// Returns when `word` differs from `old`: spins for kSpin, then sleeps in the kernel.
void wait_for_change(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
  constexpr int kChecksPerClockRead = 32;
  const Clock::time_point start = Clock::now();
  do {
    for (int i = 0; i < kChecksPerClockRead; ++i) {
      if (word.load(std::memory_order_acquire) != old) return;
      __builtin_ia32_pause();
    }
  } while (Clock::now() - start < kSpin);
  word.wait(old, std::memory_order_acquire);
}

}  // namespace

struct ThreadPool::State {
  // Own cache lines: workers poll `task` while others count `running` down.
  alignas(64) std::atomic<std::uint32_t> task{0};  ///< number of the task to be done
  Entry entry = nullptr;                           ///< null: leave
  void* context = nullptr;
  alignas(64) std::atomic<std::uint32_t> running{0};
  std::vector<std::thread> workers;
  bool pinned_creator = false;
  pthread_t creator{};
  cpu_set_t creator_affinity{};

  ~State() {
    entry = nullptr;
    task.fetch_add(1, std::memory_order_release);
    task.notify_all();
    for (std::thread& worker : workers) worker.join();
    if (pinned_creator && pthread_equal(creator, pthread_self()) != 0) {
      pthread_setaffinity_np(creator, sizeof(creator_affinity), &creator_affinity);
    }
  }

  void work(int thread, int threads) {
    for (std::uint32_t seen = 0;; ++seen) {
      wait_for_change(task, seen);
      if (entry == nullptr) return;
      entry(context, thread, threads);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) running.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads, std::span<const int> cpus) : threads_(threads) {
  if (threads < 1) throw InputError(fmt::format("threads = {} must be at least 1", threads));
  state_ = std::make_unique<State>();
  if (!cpus.empty()) {
    state_->creator = pthread_self();
    state_->creator_affinity = affinity_of(state_->creator);
    pin(state_->creator, cpus[0]);
    state_->pinned_creator = true;
  }
  state_->workers.reserve(static_cast<std::size_t>(threads - 1));
  for (int i = 1; i < threads; ++i) {
    State* state = state_.get();
    state->workers.emplace_back([state, i, threads] { state->work(i, threads); });
    const pthread_t handle = state->workers.back().native_handle();
    pthread_setname_np(handle, kPoolThreadName);
    if (cpus.empty()) {
      set_affinity(handle, start_affinity());  // not the one processor of a pinned creator
    } else {
      pin(handle, cpus[static_cast<std::size_t>(i) % cpus.size()]);
    }
  }
}

ThreadPool::~ThreadPool() = default;

void ThreadPool::run_erased(Entry entry, void* context) {
  State& state = *state_;
  state.entry = entry;
  state.context = context;
  state.running.store(static_cast<std::uint32_t>(threads_ - 1), std::memory_order_relaxed);
  state.task.fetch_add(1, std::memory_order_release);
  state.task.notify_all();
  entry(context, 0, threads_);
  for (std::uint32_t left = state.running.load(std::memory_order_acquire); left != 0;
       left = state.running.load(std::memory_order_acquire)) {
    wait_for_change(state.running, left);
  }
}

}  // namespace pareto
