#include "harness/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include "harness/affinity.h"
#include "harness/errors.h"
#include "harness/machine.h"
#include "reference/parallel_rows.h"

namespace pareto {
namespace {

int processors_of_this_thread() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  return CPU_COUNT(&set);
}

TEST(ParallelRows, LeavesTheOneProcessorOfAPinnedCaller) {
  const ThreadPool pool(1, this_machine().pinning(1));
  ASSERT_EQ(processors_of_this_thread(), 1);
  std::vector<int> processors(2);
  parallel_rows(2, 2, [&](std::int64_t begin, std::int64_t /*end*/) {
    processors[static_cast<std::size_t>(begin)] = processors_of_this_thread();
  });
  EXPECT_EQ(processors, std::vector<int>(2, CPU_COUNT(&start_affinity())));
  EXPECT_EQ(processors_of_this_thread(), 1);
}

TEST(ThreadPool, CallsEveryMemberOncePerRun) {
  constexpr int kRuns = 20000;
  for (const int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    std::vector<int> calls(static_cast<std::size_t>(threads) * 16, 0);  // 64 B apart
    for (int run = 0; run < kRuns / threads; ++run) {
      pool.run([&calls, threads](int thread, int count) {
        ASSERT_EQ(count, threads);
        ++calls[static_cast<std::size_t>(thread) * 16];
      });
    }
    for (int i = 0; i < threads; ++i) {
      EXPECT_EQ(calls[static_cast<std::size_t>(i) * 16], kRuns / threads) << i << " of " << threads;
    }
  }
}

TEST(ThreadPool, ResultsAreVisibleAfterRunAlsoWhenWorkersSlept) {
  ThreadPool pool(3);
  std::array<std::int64_t, 3> part{};
  for (int run = 0; run < 50; ++run) {
    if (run % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    pool.run([&part, run](int thread, int) { part.at(static_cast<std::size_t>(thread)) = run; });
    for (const std::int64_t value : part) ASSERT_EQ(value, run);
  }
}

TEST(ThreadPool, WaitsForASlowMember) {
  ThreadPool pool(2);
  bool done = false;
  pool.run([&done](int thread, int) {
    if (thread == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    done = true;
  });
  EXPECT_TRUE(done);
}

cpu_set_t affinity_here() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof(set), &set);
  return set;
}

TEST(ThreadPool, PinsItsMembersAndGivesTheCreatorItsFreedomBack) {
  const cpu_set_t before = affinity_here();
  int cpu = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(cpu), &before)) ++cpu;
  {
    const std::array<int, 1> cpus{cpu};
    ThreadPool pool(2, cpus);
    pool.run([cpu](int, int) {
      const cpu_set_t mine = affinity_here();
      EXPECT_EQ(CPU_COUNT(&mine), 1);
      EXPECT_TRUE(CPU_ISSET(static_cast<std::size_t>(cpu), &mine));
    });
    // A pool that pins nobody must not inherit its creator's single CPU.
    ThreadPool free_pool(2);
    free_pool.run([&before](int thread, int) {
      const cpu_set_t mine = affinity_here();
      if (thread == 1) {
        EXPECT_TRUE(CPU_EQUAL(&mine, &before));
      }
    });
  }
  const cpu_set_t after = affinity_here();
  EXPECT_TRUE(CPU_EQUAL(&before, &after));
}

TEST(ThreadPool, RefusesWhatCannotBe) {
  EXPECT_THROW(ThreadPool(0), InputError);
  const std::array<int, 2> cpus{0, 1 << 20};
  EXPECT_THROW(ThreadPool(2, cpus), MachineError);
}

TEST(ThreadPool, SharesCoverEverythingOnce) {
  for (const std::int64_t count : {0, 1, 15, 16, 17, 1000}) {
    for (const int threads : {1, 2, 7}) {
      std::int64_t next = 0;
      for (int i = 0; i < threads; ++i) {
        const auto [begin, end] = share_of(count, i, threads, 16);
        EXPECT_EQ(begin, next);
        next = end;
      }
      EXPECT_EQ(next, count);
    }
  }
}

}  // namespace
}  // namespace pareto
