#include "harness/compare.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace pareto {
namespace {

struct Pair {
  std::vector<double> first;
  std::vector<double> second;
  std::vector<std::int64_t> round;

  [[nodiscard]] Comparison compare(int comparisons = 1) const {
    return compare_rounds({first, round}, {second, round}, {.comparisons = comparisons});
  }
};

// Blocks of 4 samples of two variants that share a drifting machine (±20 %, autocorrelation .95);
// each block has its own 2 % and each sample 1 %. `slowdown`: of the second.
Pair measured(std::uint64_t seed, int rounds, double slowdown) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Pair pair;
  double drift = normal(random);
  for (int r = 0; r < rounds; ++r) {
    drift = 0.95 * drift + std::sqrt(1 - 0.95 * 0.95) * normal(random);
    const double machine = 1e-3 * std::exp(0.2 * drift);
    const double a = machine * std::exp(0.02 * normal(random));
    const double b = machine * std::exp(0.02 * normal(random)) * (1 + slowdown);
    for (int i = 0; i < 4; ++i) {
      pair.first.push_back(a * std::exp(0.01 * normal(random)));
      pair.second.push_back(b * std::exp(0.01 * normal(random)));
      pair.round.push_back(r);
    }
  }
  return pair;
}

int count(SpeedVerdict verdict, int rounds, double slowdown, int comparisons = 1) {
  int found = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    found += measured(seed, rounds, slowdown).compare(comparisons).verdict == verdict ? 1 : 0;
  }
  return found;
}

// Standard error of d at 32 rounds is √(2·.02²)/√32 = .5 %: 5 % lies 6 of them above the margin.
TEST(Compare, FindsATwinThatIsFivePercentSlower) {
  EXPECT_GE(count(SpeedVerdict::kSlower, 32, 0.05), 196);
  EXPECT_GE(count(SpeedVerdict::kFaster, 32, 1 / 1.05 - 1), 196);
  // A hundred pairs ask for t = 3.9: about nine in ten remain; below 160 of 200 has p < 1e-3.
  EXPECT_GE(count(SpeedVerdict::kSlower, 32, 0.05, 100), 160);
}

TEST(Compare, IdenticalTwinsAreSameOrUnclear) {
  EXPECT_EQ(count(SpeedVerdict::kSlower, 16, 0) + count(SpeedVerdict::kFaster, 16, 0), 0);
  EXPECT_GE(count(SpeedVerdict::kSame, 64, 0), 190);
}

// Even with a true difference right at the margin, a verdict of SLOWER is a false alarm of at most
// 2.5 %: 5 of 200; more than 12 has a probability below 1e-3.
TEST(Compare, AtTheMarginAlarmsAreRare) { EXPECT_LE(count(SpeedVerdict::kSlower, 32, 0.02), 12); }

// The sine has a deviation of 3.5 % beside the 3 % of the ratios: without the correction by ρ the
// interval would widen by only √(3.5² + 3²)/3 = 1.5.
TEST(Compare, CorrelatedRatiosWidenTheInterval) {
  Pair steady = measured(1, 64, 0);
  Pair drifting = steady;
  const Comparison before = steady.compare();
  for (std::size_t i = 0; i < drifting.first.size(); ++i) {
    drifting.first[i] *= std::exp(0.05 * std::sin(static_cast<double>(i) / 40));
  }
  const Comparison after = drifting.compare();
  EXPECT_GT(std::log(after.hi / after.lo), 2 * std::log(before.hi / before.lo));
}

// One call in ten takes ten times as long: the mean of a round is far from its median, which must
// not pass for a difference between twins of which one was stored as means of two rounds.
TEST(Compare, StoredMeansAreHeldAgainstMeans) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> uniform;
  std::vector<double> seconds;
  std::vector<std::int64_t> round;
  std::vector<double> means;
  std::vector<std::int64_t> every_other;
  for (std::int64_t r = 0; r < 512; ++r) {
    if (r % 2 == 0) every_other.push_back(r);
    if (r % 2 == 0) means.push_back(0);
    for (int i = 0; i < 4; ++i) {
      seconds.push_back(1e-3 * (uniform(random) < 0.1 ? 10 : 1));
      round.push_back(r);
      means.back() += seconds.back() / 8;
    }
  }
  const Comparison same = compare_rounds({seconds, round}, {means, every_other}, {});
  EXPECT_EQ(same.verdict, SpeedVerdict::kSame) << same.speedup;
  EXPECT_NEAR(same.speedup, 1, 1e-9);
  EXPECT_EQ(same.count, 256);
}

TEST(Compare, PairsOnlyCommonRounds) {
  Pair pair = measured(2, 20, 0.5);
  std::vector<std::int64_t> shifted = pair.round;
  for (std::int64_t& round : shifted) round += 4;
  const Comparison sixteen = compare_rounds({pair.first, pair.round}, {pair.second, shifted}, {});
  EXPECT_EQ(sixteen.count, 16);
  for (std::int64_t& round : shifted) round += 1;
  const Comparison fifteen = compare_rounds({pair.first, pair.round}, {pair.second, shifted}, {});
  EXPECT_EQ(fifteen.verdict, SpeedVerdict::kUnclear);
  EXPECT_EQ(fifteen.count, 15);
  EXPECT_NE(fifteen.reason.find("15 common rounds"), std::string::npos);
  EXPECT_TRUE(std::isnan(fifteen.lo));
}

std::vector<double> processes(std::uint64_t seed, int count, double median, double spread) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> medians;
  for (int i = 0; i < count; ++i) medians.push_back(median * std::exp(spread * normal(random)));
  return medians;
}

TEST(Compare, AcrossFilesNeedsFiveProcessesASide) {
  const ProcessMedians four{processes(1, 5, 1, 0.001), processes(2, 4, 2, 0.001)};
  const Comparison result = compare_processes(four, 0, {});
  EXPECT_EQ(result.verdict, SpeedVerdict::kUnclear);
  EXPECT_NE(result.reason.find("--processes"), std::string::npos);
  const ProcessMedians five{processes(1, 5, 1, 0.001), processes(2, 5, 2, 0.001)};
  EXPECT_EQ(compare_processes(five, 0, {}).verdict, SpeedVerdict::kSlower);
  EXPECT_NEAR(compare_processes(five, 0, {}).speedup, 0.5, 0.005);
}

TEST(Compare, DriftOfBaselinesWidensTheMargin) {
  const ProcessMedians faster{processes(1, 6, 1.08, 0.002), processes(2, 6, 1, 0.002)};
  EXPECT_EQ(compare_processes(faster, 0, {}).verdict, SpeedVerdict::kFaster);
  const std::vector<ProcessMedians> baselines{
      {processes(3, 6, 1, 0.002), processes(4, 6, 1.01, 0.002)},
      {processes(5, 6, 1.10, 0.002), processes(6, 6, 1, 0.002)}};
  const double drift = baseline_drift(baselines);
  EXPECT_NEAR(drift, std::log(1.1), 0.006);
  EXPECT_NE(compare_processes(faster, drift, {}).verdict, SpeedVerdict::kFaster);
  EXPECT_EQ(baseline_drift({}), 0);
  // Nor does it make a change of 8 % nothing.
  EXPECT_EQ(compare_processes(faster, drift, {}).verdict, SpeedVerdict::kUnclear);
}

// Processes differ by 5 %, rounds of one by 1: many rounds do not make five processes more.
TEST(Compare, FiveProcessesAreFiveHoweverManyRounds) {
  int wrong = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    Pair pair;
    for (int process = 0; process < 5; ++process) {
      const double shift = std::exp(0.05 * normal(random));
      for (int round = 0; round < 64; ++round) {
        pair.first.push_back(std::exp(0.01 * normal(random)));
        pair.second.push_back(shift * std::exp(0.01 * normal(random)));
        pair.round.push_back(process * kProcessRounds + round);
      }
    }
    const SpeedVerdict verdict = pair.compare().verdict;
    wrong += verdict == SpeedVerdict::kFaster || verdict == SpeedVerdict::kSlower ? 1 : 0;
  }
  EXPECT_LE(wrong, 10);  // 5 % at most, and the margin takes from it
  Pair few = measured(3, 32, 0);
  for (std::size_t i = few.round.size() / 2; i < few.round.size(); ++i) {
    few.round[i] += kProcessRounds;
  }
  EXPECT_NE(few.compare().reason.find("between the 2 processes"), std::string::npos);
}

TEST(Compare, IdenticalMediansAreSame) {
  const std::vector<double> medians(5, 1e-3);
  EXPECT_EQ(compare_processes({medians, medians}, 0, {}).verdict, SpeedVerdict::kSame);
}

}  // namespace
}  // namespace pareto
