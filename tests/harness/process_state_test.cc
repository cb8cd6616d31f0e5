#include "harness/process_state.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace pareto {
namespace {

TEST(ProcessState, SeesAndPutsBackWhoHandlesFaults) {
  const ProcessState state;
  EXPECT_EQ(state.restore(), "");
  const auto before = std::signal(SIGBUS, [](int) {});
  EXPECT_EQ(state.restore(), "the handler of faults was replaced");
  EXPECT_EQ(state.restore(), "");
  EXPECT_EQ(std::signal(SIGBUS, before), before);
}

TEST(ProcessState, SeesAndPutsBackProcessors) {
  cpu_set_t all;
  sched_getaffinity(0, sizeof(all), &all);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "one processor";
  const ProcessState state;
  cpu_set_t one;
  CPU_ZERO(&one);
  std::size_t first = 0;
  while (!CPU_ISSET(first, &all)) ++first;
  CPU_SET(first, &one);
  sched_setaffinity(0, sizeof(one), &one);
  EXPECT_EQ(state.restore(), "a thread was moved to other processors");
  cpu_set_t now;
  sched_getaffinity(0, sizeof(now), &now);
  EXPECT_TRUE(CPU_EQUAL(&now, &all));
}

TEST(ProcessState, SeesPriority) {
  const ProcessState state;
  constexpr int kLowest = 19;
  const int now = getpriority(PRIO_PROCESS, 0);
  if (now == kLowest) GTEST_SKIP() << "runs at the lowest priority already";
  setpriority(PRIO_PROCESS, 0, now + 1);
  EXPECT_EQ(state.restore(), "a thread's priority was changed");
}

}  // namespace
}  // namespace pareto
