#include "harness/energy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>

#include "harness/errors.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

// A powercap folder of the test's own, on a virtual clock: 20 W idle, `busy_w` while running.
class PowercapTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) /
            ("pareto_powercap_" +
             std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(root_);
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  void add(const std::string& zone, const std::string& name, std::uint64_t energy_uj,
           std::uint64_t range_uj) {
    fs::create_directories(root_ / zone);
    std::ofstream(root_ / zone / "name") << name << '\n';
    std::ofstream(root_ / zone / "max_energy_range_uj") << range_uj << '\n';
    set(zone, energy_uj);
  }
  void set(const std::string& zone, std::uint64_t energy_uj) {
    std::ofstream(root_ / zone / "energy_uj") << energy_uj << '\n';
  }

  // Time passes at `watts`; the count wraps at `range_uj_`.
  void pass(double seconds, double watts) {
    now_s_ += seconds;
    energy_uj_ =
        (energy_uj_ + static_cast<std::uint64_t>(std::llround(1e6 * seconds * watts))) % range_uj_;
    set("intel-rapl:0", energy_uj_);
  }
  EnergyOptions options() {
    EnergyOptions options;
    options.now = [this] { return now_s_; };
    options.sleep_s = [this](double seconds) { pass(seconds, kIdleW); };
    return options;
  }

  static constexpr double kIdleW = 20;
  fs::path root_;
  double now_s_ = 0;
  std::uint64_t energy_uj_ = 0;
  std::uint64_t range_uj_ = 262143328850;
};

TEST_F(PowercapTest, SubtractsIdlePower) {
  add("intel-rapl:0", "package-0", 0, range_uj_);
  int runs = 0;
  const EnergyReading reading = measure_energy(
      open_rapl(root_),
      [&] {
        pass(0.01, 120);
        ++runs;
      },
      5, options());
  EXPECT_EQ(reading.reason, "");
  EXPECT_EQ(reading.source, "rapl package-0");
  EXPECT_GE(reading.seconds, 1);
  EXPECT_EQ(reading.calls, 5 * runs);
  EXPECT_NEAR(reading.idle_watts, kIdleW, 1e-3);
  EXPECT_NEAR(reading.gross_joules_per_call, 120 * 0.01 / 5, 1e-6);
  EXPECT_NEAR(reading.joules_per_call, 100 * 0.01 / 5, 1e-5);
}

// A sensor that remembers: 200 W for two seconds after work, then 20 W.
class SlowSensor : public EnergyCounter {
 public:
  explicit SlowSensor(const double& now_s) : now_s_(now_s) {}
  double joules() override { return 200 * std::min(now_s_, 2.0) + 20 * std::max(now_s_ - 2, 0.0); }
  [[nodiscard]] std::string source() const override { return "slow"; }
  [[nodiscard]] double shortest_run_s() const override { return 1; }
  [[nodiscard]] double settle_s() const override { return 3; }

 private:
  const double& now_s_;
};

TEST_F(PowercapTest, RestsBeforeItReadsTheIdlePower) {
  OpenedCounter opened;
  opened.counter = std::make_unique<SlowSensor>(now_s_);
  EnergyOptions slow = options();
  slow.sleep_s = [this](double seconds) { now_s_ += seconds; };
  const EnergyReading reading = measure_energy(
      opened, [this] { now_s_ += 0.1; }, 1, slow);
  EXPECT_NEAR(reading.idle_watts, 20, 1e-6);
}

TEST_F(PowercapTest, SurvivesTheWrap) {
  range_uj_ = 150'000'000;
  energy_uj_ = range_uj_ - 60'000'000;
  add("intel-rapl:0", "package-0", energy_uj_, range_uj_);
  const EnergyReading reading = measure_energy(
      open_rapl(root_), [&] { pass(0.25, 120); }, 1, options());
  EXPECT_LT(energy_uj_, range_uj_ - 60'000'000) << "the test must wrap";
  EXPECT_NEAR(reading.gross_joules_per_call, 30, 1e-5);
}

TEST_F(PowercapTest, AddsPackagesAndDramButNothingTwice) {
  add("intel-rapl:0", "package-0", 1000, 1 << 30);
  add("intel-rapl:0:0", "core", 1000, 1 << 30);
  add("intel-rapl:0:1", "dram", 1000, 1 << 30);
  add("intel-rapl:1", "package-1", 1000, 1 << 30);
  add("intel-rapl:2", "psys", 1000, 1 << 30);
  const OpenedCounter opened = open_rapl(root_);
  ASSERT_NE(opened.counter, nullptr);
  EXPECT_EQ(opened.counter->source(), "rapl package-0 dram package-1");
  for (const char* zone :
       {"intel-rapl:0", "intel-rapl:0:0", "intel-rapl:0:1", "intel-rapl:1", "intel-rapl:2"}) {
    set(zone, 1'001'000);
  }
  EXPECT_NEAR(opened.counter->joules(), 3, 1e-9);
}

TEST_F(PowercapTest, NoCounterIsNanWithTheReason) {
  const OpenedCounter opened = open_rapl(root_);
  bool called = false;
  const EnergyReading reading = measure_energy(
      opened, [&] { called = true; }, 1);
  EXPECT_TRUE(std::isnan(reading.joules_per_call));
  EXPECT_NE(reading.reason.find("no RAPL counter"), std::string::npos);
  EXPECT_FALSE(called);
}

TEST_F(PowercapTest, UnreadableCounterIsNamed) {
  add("intel-rapl:0", "package-0", 0, 1 << 30);
  fs::remove(root_ / "intel-rapl:0" / "energy_uj");
  EXPECT_NE(open_rapl(root_).reason.find("energy_uj"), std::string::npos);
}

TEST_F(PowercapTest, ACounterThatStandsStillGivesNoNumber) {
  add("intel-rapl:0", "package-0", 7, 1 << 30);
  EnergyOptions frozen = options();
  frozen.sleep_s = [this](double seconds) { now_s_ += seconds; };
  const EnergyReading reading = measure_energy(
      open_rapl(root_), [&] { now_s_ += 0.1; }, 1, frozen);
  EXPECT_TRUE(std::isnan(reading.joules_per_call));
  EXPECT_NE(reading.reason.find("does not move"), std::string::npos);
}

TEST_F(PowercapTest, ACounterThatVanishesIsAMachineError) {
  add("intel-rapl:0", "package-0", 0, 1 << 30);
  const OpenedCounter opened = open_rapl(root_);
  fs::remove(root_ / "intel-rapl:0" / "energy_uj");
  EXPECT_THROW(opened.counter->joules(), MachineError);
}

TEST(Nvml, WithoutItsLibraryThereIsAReason) {
  const OpenedCounter opened = open_nvml("GPU-0", "libpareto-no-such-library.so.1");
  EXPECT_EQ(opened.counter, nullptr);
  EXPECT_NE(opened.reason.find("libpareto-no-such-library"), std::string::npos);
  EXPECT_NE(open_nvml("GPU-0", "libm.so.6").reason.find("lacks"), std::string::npos);
}

}  // namespace
}  // namespace pareto
