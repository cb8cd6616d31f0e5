#include "harness/clock_watch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "harness/clock.h"

namespace pareto {
namespace {

TEST(ClockWatch, TheKernelReadsTheSameClock) {
  const double before = now_s();
  const double kernel = kernel_now_s();
  const double after = now_s();
  EXPECT_LE(before, kernel);
  EXPECT_LE(kernel, after);
}

// A process that is stopped between its readings of two clocks must not blame a kernel for it.
TEST(ClockWatch, BothClocksAreReadAgainAfterAnInterruption) {
  double second = 0;
  int reads = 0;
  const ClockReading reading = read_both([&] {
    ++reads;
    return second += reads == 2 ? 60 : 1e-7;
  });
  EXPECT_GT(reading.seconds, 60);
  EXPECT_EQ(reads, 4);
}

TEST(ClockWatch, AgreesWithAnHonestClock) {
  ClockWatch watch;
  EXPECT_TRUE(watch.agree());
  for (int i = 0; i < 20; ++i) {
    watch.begin();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    watch.end();
  }
  EXPECT_TRUE(watch.agree());
}

TEST(ClockWatch, AClockThatIsSlowBetweenItsReadsIsNoticedByTheCounter) {
  for (const double share : {1.0, 0.5}) {
    ClockWatch watch;
    for (int i = 0; i < 20; ++i) {
      const std::uint64_t count = counter_now();
      const double start = now_s();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      watch.add(share * (now_s() - start), counter_now() - count);
    }
    EXPECT_EQ(watch.agree(), share == 1.0);
  }
}

}  // namespace
}  // namespace pareto
