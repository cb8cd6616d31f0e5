#include "harness/thread_watch.h"

#include <gtest/gtest.h>
#include <xmmintrin.h>

#include <atomic>
#include <cfenv>
#include <chrono>
#include <ctime>
#include <thread>

namespace pareto {
namespace {

constexpr unsigned kFlushToZero = 1U << 15;

TEST(FpModes, NamesWhatWasLeftChanged) {
  const std::uint32_t before = fp_modes();
  EXPECT_EQ(fp_modes_difference(before, fp_modes()), "");
  _mm_setcsr(_mm_getcsr() | kFlushToZero);
  EXPECT_EQ(fp_modes_difference(before, fp_modes()), "flush-to-zero left changed");
  set_fp_modes(before);
  std::fesetround(FE_UPWARD);
  EXPECT_EQ(fp_modes_difference(before, fp_modes()),
            "rounding mode left changed, x87 control word left changed");
  set_fp_modes(before);
  EXPECT_EQ(fp_modes(), before);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
}

TEST(FpModes, StickyFlagsAreNoModes) {
  const std::uint32_t before = fp_modes();
  std::feraiseexcept(FE_INEXACT | FE_OVERFLOW);
  EXPECT_EQ(fp_modes(), before);
  std::feclearexcept(FE_ALL_EXCEPT);
}

TEST(FpModes, FindsAndRepairsTheMemberOfAPool) {
  ThreadPool pool(2);
  const std::uint32_t wanted = fp_modes();
  pool.run([](int thread, int) {
    if (thread == 1) _mm_setcsr(_mm_getcsr() | kFlushToZero);
  });
  EXPECT_EQ(restore_fp_modes(pool, wanted), "flush-to-zero left changed on thread 1");
  EXPECT_EQ(restore_fp_modes(pool, wanted), "");
}

void spin_for(std::chrono::milliseconds time) {
  timespec start{};
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
  do {
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 <
           time.count());
}

TEST(ProcessorWatch, CountsThreadsThatCameAndWent) {
  ThreadPool pool(2);
  const ProcessorWatch watch;
  pool.run([](int, int) { spin_for(std::chrono::milliseconds(5)); });
  EXPECT_LT(watch.since().hidden_s, 1e-3);  // the team was there before
  std::thread([] { spin_for(std::chrono::milliseconds(10)); }).join();
  EXPECT_GT(watch.since().hidden_s, 8e-3);
}

TEST(OtherThreads, AreWaitedForUntilTheySleep) {
  std::atomic<bool> spin = true;
  std::atomic<bool> stay = true;
  std::thread other([&] {
    while (spin) {
    }
    stay.wait(true);
  });
  EXPECT_FALSE(wait_until_others_sleep(0.01));
  spin = false;
  EXPECT_TRUE(wait_until_others_sleep(10));
  stay = false;
  stay.notify_all();
  other.join();
}

TEST(ThreadWatch, AcceptsThreadsThatWereJoined) {
  const ThreadWatch watch;
  std::thread([] {}).join();
  EXPECT_EQ(watch.still_running(), "");
}

TEST(ThreadWatch, NoticesAThreadThatStays) {
  const ThreadWatch watch;
  std::atomic<bool> stop{false};
  std::thread lingering([&] { stop.wait(false); });
  EXPECT_EQ(watch.still_running().substr(0, 38), "1 thread still running after the call ");
  stop = true;
  stop.notify_all();
  lingering.join();
}

}  // namespace
}  // namespace pareto
