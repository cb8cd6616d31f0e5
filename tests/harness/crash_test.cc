#include "harness/crash.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

namespace pareto {
namespace {

constexpr double kTimeout_s = 20;

TEST(Crash, ReturnsWhatTheBodyReturns) {
  const std::string megabyte(1 << 20, 'x');
  const ChildResult result = run_isolated([&] { return megabyte; }, kTimeout_s);
  EXPECT_EQ(result.end, ChildEnd::kReturned);
  EXPECT_EQ(result.value, megabyte);
}

TEST(Crash, CarriesErrorsWithTheirExitCode) {
  const ChildResult result =
      run_isolated([]() -> std::string { throw CannotRunError("needs AMX-INT8"); }, kTimeout_s);
  EXPECT_EQ(result.end, ChildEnd::kError);
  EXPECT_EQ(result.code, ExitCode::kCannotRun);
  EXPECT_EQ(result.message, "needs AMX-INT8");
}

TEST(Crash, TellsSignalsApart) {
  const auto message_of = [](int signal) {
    return run_isolated(
               [=] {
                 raise(signal);
                 return std::string();
               },
               kTimeout_s)
        .message;
  };
  EXPECT_EQ(message_of(SIGILL).substr(0, 6), "SIGILL");
  EXPECT_EQ(message_of(SIGFPE).substr(0, 6), "SIGFPE");
  EXPECT_EQ(message_of(SIGABRT).substr(0, 7), "SIGABRT");
  EXPECT_NE(message_of(SIGKILL).find("signal 9"), std::string::npos);
}

TEST(Crash, PutsTheContextBeforeTheFault) {
  const ChildResult result = run_isolated(
      [] {
        set_fault_context("input exact: ");
        std::abort();
        return std::string();
      },
      kTimeout_s);
  EXPECT_EQ(result.message.substr(0, 20), "input exact: SIGABRT");
}

TEST(Crash, NoticesAnEarlyExit) {
  const ChildResult result = run_isolated(
      [] {
        _exit(0);
        return std::string();
      },
      kTimeout_s);
  EXPECT_EQ(result.end, ChildEnd::kFault);
  EXPECT_EQ(result.message, "exited early with status 0");
}

TEST(Crash, KillsAHangAfterTheLimit) {
  const auto start = std::chrono::steady_clock::now();
  const ChildResult result = run_isolated(
      [] {
        for (;;) pause();
        return std::string();
      },
      0.2);
  EXPECT_EQ(result.end, ChildEnd::kTimeout);
  EXPECT_EQ(result.message, "did not finish within 0.2 s and was killed");
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
}

// A process that the body starts must neither hold up its end nor survive it.
TEST(Crash, EndsWhatTheBodyStarted) {
  const ChildResult result = run_isolated(
      [] {
        const pid_t grandchild = fork();
        if (grandchild == 0) {
          for (;;) pause();
        }
        return std::to_string(grandchild);
      },
      kTimeout_s);
  ASSERT_EQ(result.end, ChildEnd::kReturned);
  const pid_t grandchild = std::stoi(result.value);
  // Whoever adopts it must reap it; until then it is a zombie, which no longer runs.
  const auto gone = [&] {
    if (kill(grandchild, 0) != 0) return true;
    const std::string command =
        "grep -q '^State:.Z' /proc/" + std::to_string(grandchild) + "/status 2>/dev/null";
    return std::system(command.c_str()) == 0;
  };
  for (int i = 0; i < 200 && !gone(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(gone());
}

TEST(Crash, LeavesNoZombie) {
  run_isolated([] { return std::string(); }, kTimeout_s);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace pareto
