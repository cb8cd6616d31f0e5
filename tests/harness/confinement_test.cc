#include "harness/confinement.h"

#include <gtest/gtest.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>
#include <thread>

#include "harness/crash.h"

namespace pareto {
namespace {

constexpr double kTimeout_s = 20;

std::string end_of(const std::function<void()>& act) {
  const ChildResult result = run_isolated(
      [&] {
        confine_process();
        act();
        return std::string("went on");
      },
      kTimeout_s);
  return result.end == ChildEnd::kReturned ? result.value : result.message;
}

TEST(Confinement, NamesWhatIsNotAllowed) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers are not confined";
#endif
  const auto ends_with = [](const std::function<void()>& act, const std::string& meaning) {
    EXPECT_EQ(end_of(act), "SIGSYS: the kernel tried what none may do: it " + meaning);
  };
  ends_with([] { static_cast<void>(fork()); }, "started a process");
  // It blocks signals before it does so.
  EXPECT_EQ(end_of([] { static_cast<void>(std::system("true")); }),
            "SIGSYS: the kernel tried what none may do, with its signals blocked");
  ends_with([] { execl("/bin/true", "true", nullptr); }, "became another program");
  ends_with([] { kill(getppid(), SIGCONT); }, "sent a signal to a process");
  ends_with([] { setsid(); }, "left its process group");
  ends_with(
      [] {
        const itimerval timer{.it_interval = {}, .it_value = {.tv_sec = 1, .tv_usec = 0}};
        setitimer(ITIMER_REAL, &timer, nullptr);
      },
      "set a timer");
}

TEST(Confinement, ThreadsAreAllowed) {
  EXPECT_EQ(end_of([] { std::thread([] {}).join(); }), "went on");
}

TEST(Confinement, AbortKeepsItsName) {
  EXPECT_NE(end_of([] { std::abort(); }).find("SIGABRT"), std::string::npos);
}

}  // namespace
}  // namespace pareto
