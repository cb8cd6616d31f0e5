#include "harness/ceilings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/aligned_buffer.h"
#include "harness/ceiling_probes.h"
#include "harness/errors.h"
#include "harness/machine.h"

namespace pareto {
namespace {

// Rates chosen so that levels and units cannot be confused.
Ceilings known() {
  Ceilings ceilings;
  ceilings.set("fma_fp32", 1, {100e9, 2.0});
  ceilings.set("fma_fp32", 4, {400e9, 2.0});
  ceilings.set("read_dram", 1, {10e9});
  ceilings.set("read_dram_8streams", 1, {8e9});
  ceilings.set("read_l1", 1, {1000e9});
  ceilings.set("read_l2", 1, {300e9});
  ceilings.set("read_l3", 1, {60e9});
  ceilings.set("read_l3_8streams", 1, {80e9});
  return ceilings;
}

TEST(Ceilings, InterpolatesBetweenThreadCounts) {
  const Ceilings ceilings = known();
  EXPECT_EQ(ceilings.get("fma_fp32", 1), 100e9);
  EXPECT_EQ(ceilings.get("fma_fp32", 2), 200e9);
  EXPECT_EQ(ceilings.get("fma_fp32", 4), 400e9);
  EXPECT_EQ(ceilings.get("fma_fp32", 64), 400e9);
  EXPECT_TRUE(std::isnan(ceilings.get("amx_int8", 1)));
}

TEST(Ceilings, BandwidthIsTheBetterOfOneAndEightStreams) {
  const Ceilings ceilings = known();
  EXPECT_EQ(ceilings.bandwidth("l3", 1), 80e9);
  EXPECT_EQ(ceilings.bandwidth("dram", 1), 10e9);
  EXPECT_EQ(ceilings.bandwidth("l2", 1), 300e9);  // eight streams were not measured
}

TEST(Ceilings, AttainableIsTheLargerOfComputeAndMemory) {
  const Ceilings ceilings = known();
  EXPECT_DOUBLE_EQ(ceilings.attainable_s({.unit = "fma_fp32", .flops = 1e9, .bytes = 1e6}),
                   1e9 / 100e9);
  EXPECT_DOUBLE_EQ(ceilings.attainable_s({.unit = "fma_fp32", .flops = 1e3, .bytes = 1e6}),
                   1e6 / 10e9);
  EXPECT_TRUE(std::isnan(ceilings.attainable_s({.unit = "amx_int8", .flops = 1, .bytes = 1})));
}

TEST(Ceilings, WarmIsHeldAgainstTheLevelThatFits) {
  const Ceilings ceilings = known();
  const Machine& machine = this_machine();
  for (const Cache& cache : machine.caches) {
    const auto bytes = static_cast<double>(machine.cache_bytes(cache.level, 1));
    const std::string level = "l" + std::to_string(cache.level);
    const RooflineQuery fits{.unit = "fma_fp32", .bytes = bytes, .warm = true};
    EXPECT_EQ(ceilings.level_of(fits), level);
    EXPECT_DOUBLE_EQ(ceilings.attainable_s(fits), bytes / ceilings.bandwidth(level, 1));
    const RooflineQuery cold{.unit = "fma_fp32", .bytes = bytes};
    EXPECT_EQ(ceilings.level_of(cold), "dram");
    const RooflineQuery bigger{.unit = "fma_fp32", .bytes = bytes + 1, .warm = true};
    EXPECT_NE(ceilings.level_of(bigger), level);
    // Twice the operands of what is moved: those have to fit.
    EXPECT_NE(ceilings.level_of({.bytes = bytes, .warm = true, .operand_bytes = 2 * bytes}), level);
  }
}

TEST(Ceilings, WarmOperandsBeyondTheLastLevelKeepAPartThere) {
  const Machine& machine = this_machine();
  if (machine.caches.empty()) GTEST_SKIP() << "no caches reported";
  const Ceilings ceilings = known();
  const int last = machine.caches.back().level;
  const auto capacity = static_cast<double>(machine.cache_bytes(last, 1));
  const double expected =
      capacity / ceilings.bandwidth("l" + std::to_string(last), 1) + 3 * capacity / 10e9;
  EXPECT_NEAR(ceilings.attainable_s({.unit = "fma_fp32", .bytes = 4 * capacity, .warm = true}),
              expected, 1e-9 * expected);
}

TEST(Ceilings, TheHigherOfTwoMeasurementsIsKept) {
  Ceilings ceilings = known();
  Ceilings again;
  again.set("fma_fp32", 4, {390e9, 1.9});
  again.set("read_l2", 1, {310e9});
  again.set("read_l2", 4, {900e9});
  ceilings.keep_best(again);
  EXPECT_EQ(ceilings.get("fma_fp32", 4), 400e9);
  EXPECT_EQ(ceilings.all().at("fma_fp32").at(4).instructions_per_clock, 2.0);
  EXPECT_EQ(ceilings.get("read_l2", 1), 310e9);
  EXPECT_EQ(ceilings.get("read_l2", 4), 900e9);
}

TEST(Ceilings, ThreadsThatShareCoresAreNoticed) {
  Ceilings ceilings = known();
  EXPECT_TRUE(ceilings.crowded().empty());  // nothing scalar was measured
  ceilings.set("scalar_fp32", 2, {40.4e9});
  EXPECT_TRUE(ceilings.crowded().empty());  // nothing to compare with
  ceilings.set("scalar_fp32", 1, {40e9});
  ceilings.set("scalar_fp32", 4, {120e9});  // a lower clock, but cores of their own
  EXPECT_EQ(ceilings.crowded(), std::vector<int>{2});
}

TEST(Ceilings, JsonRoundTrip) {
  const Ceilings ceilings = known();
  const Ceilings back = Ceilings::from_json(nlohmann::json::parse(ceilings.to_json().dump()));
  EXPECT_EQ(back.to_json(), ceilings.to_json());
  EXPECT_EQ(back.get("fma_fp32", 4), 400e9);
  EXPECT_THROW(Ceilings::from_json({{"fma_fp32", {{"x", 3}}}}), InputError);
  EXPECT_THROW(Ceilings::from_json(nlohmann::json::parse("{\"fma_fp32\": 3}")), InputError);
}

TEST(Ceilings, CacheKeepsTheLastOnesAndSurvivesRubbish) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "pareto_ceilings_test";
  setenv("PARETO_CACHE_DIR", folder.c_str(), 1);
  cache_ceilings(known());
  std::ifstream file(ceilings_cache_path());
  EXPECT_EQ(nlohmann::json::parse(file), known().to_json());
  EXPECT_EQ(load_ceilings(ceilings_cache_path()).get("fma_fp32", 4), 400e9);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::ofstream(ceilings_cache_path()) << "{\"fma";
  EXPECT_TRUE(load_ceilings(ceilings_cache_path()).empty());
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(load_ceilings(ceilings_cache_path()).empty());
  unsetenv("PARETO_CACHE_DIR");
}

TEST(Ceilings, EveryProbeThatCanRunHereGivesAPlausibleRate) {
  const std::vector<int> one{1};
  const Ceilings ceilings = measure_ceilings({}, one, 0.1);
  std::vector<std::string> measured;
  for (const auto& [name, by_threads] : ceilings.all()) {
    measured.push_back(name);
    const Ceiling& ceiling = by_threads.at(1);
    EXPECT_GT(ceiling.rate, 1e8) << name;   // slower than any x86-64 of the last 20 years
    EXPECT_LT(ceiling.rate, 1e14) << name;  // ten times AMX
    if (!std::isnan(ceiling.instructions_per_clock)) {
      EXPECT_LT(ceiling.instructions_per_clock, 8) << name;  // wider than any core
    }
  }
  std::vector<std::string> names = measurable_ceilings();
  std::sort(names.begin(), names.end());
  EXPECT_EQ(measured, names);
  for (const char* always : {"scalar_fp32", "fma_fp32", "read_dram", "copy_dram"}) {
    EXPECT_TRUE(std::count(names.begin(), names.end(), always)) << always;
  }
}

TEST(Ceilings, OnlyWhatIsAskedForIsMeasured) {
  const std::vector<std::string> names{"scalar_fp32"};
  const std::vector<int> counts{this_machine().cores};
  const Ceilings ceilings = measure_ceilings(names, counts, 0.02);
  ASSERT_EQ(ceilings.all().size(), 1U);
  EXPECT_GT(ceilings.get("scalar_fp32", 1), 0);
}

TEST(Ceilings, MemoryProbesTouchWhatTheySay) {
  AlignedBuffer<std::byte> from(4 * kMemoryGrain);
  AlignedBuffer<std::byte> to(4 * kMemoryGrain);
  for (std::int64_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + 1);
  const std::int64_t bytes = 3 * kMemoryGrain;
  memory_probe().copy(to.data(), from.data(), bytes);
  EXPECT_TRUE(std::equal(from.data(), from.data() + bytes, to.data()));
  EXPECT_TRUE(std::all_of(to.data() + bytes, to.data() + to.size(),
                          [](std::byte b) { return b == std::byte{0}; }));
}

TEST(Ceilings, CoreClockIsThatOfACpu) {
  const double hz = core_clock_hz();
  EXPECT_GT(hz, 2e8);
  EXPECT_LT(hz, 8e9);
}

}  // namespace
}  // namespace pareto
