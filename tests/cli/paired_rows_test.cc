#include "cli/paired_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "harness/errors.h"
#include "harness/merge.h"
#include "tests/harness/case_records.h"

namespace pareto {
namespace {

using ::testing::HasSubstr;

// Two processes' worth of rounds, with noise that hits all variants of a round alike.
SampleSet noisy_samples(double seconds, int processes, std::uint64_t seed) {
  SampleSet samples;
  std::mt19937_64 drift(7);
  std::mt19937_64 own(seed);
  std::normal_distribution<double> wide(0, 0.05);
  std::normal_distribution<double> narrow(0, 0.002);
  for (int process = 0; process < processes; ++process) {
    for (int round = 0; round < 64; ++round) {
      const double factor = std::exp(wide(drift) + narrow(own));
      for (int i = 0; i < 4; ++i) {
        samples.seconds.push_back(seconds * factor);
        samples.block.push_back(round);
        samples.round.push_back(round);
        samples.process.push_back(process);
        samples.start_s.push_back(0);
      }
    }
  }
  return samples;
}

class Compared : public ::testing::Test {
 protected:
  struct Subject {
    int number;
    std::string variant;
    double seconds;
    std::string group_run = "go";
    std::string machine = "machine-a";
    bool baseline = false;
  };

  [[nodiscard]] ResultFile file_of(const std::string& name, const std::vector<Subject>& subjects,
                                   int processes = 1) const {
    const std::filesystem::path dir = scratch_.path() / name;
    prepare_case_folder(dir);
    for (const Subject& subject : subjects) {
      CaseRecord record = make_record(subject.number);
      record.row["variant"] = subject.variant;
      record.row["group_run"] = subject.group_run;
      record.row["machine"] = subject.machine;
      record.row["baseline"] = subject.baseline;
      record.row["time_median_s"] = subject.seconds;
      record.samples = noisy_samples(subject.seconds, processes,
                                     static_cast<std::uint64_t>(subject.number) + name.size());
      write_case_files(dir, std::span(&record, 1));
    }
    const std::string path = scratch_.path() / (name + ".h5");
    const std::vector<std::filesystem::path> folders = {dir};
    merge_cases(folders, path, {});
    return read_result_file(path);
  }

  const ScratchFolder scratch_{"compared"};
};

template <typename Action>
std::string refusal(Action action) {
  try {
    action();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST_F(Compared, ASlowerTwinIsFoundInsideOneGo) {
  const ResultFile file = file_of("twins", {{0, "twin", 1e-4}, {1, "slow_twin", 1.05e-4}});
  const std::vector<PairedRows> pairs = pair_inside(file, "twin,qgemm/slow_twin");
  ASSERT_EQ(pairs.size(), 1U);
  EXPECT_EQ(pairs[0].first.text("variant"), "twin");
  EXPECT_EQ(pairs[0].compare_by_rounds({}).verdict, SpeedVerdict::kSlower);
  EXPECT_EQ(pair_inside(file, "slow_twin,twin")[0].compare_by_rounds({}).verdict,
            SpeedVerdict::kFaster);
}

TEST_F(Compared, VariantsOfDifferentGoesAreNotPaired) {
  const ResultFile file =
      file_of("goes", {{0, "twin", 1e-4, "one"}, {1, "slow_twin", 1.05e-4, "two"}});
  EXPECT_THAT(refusal([&] { pair_inside(file, "twin,slow_twin"); }), HasSubstr("nowhere"));
}

TEST_F(Compared, AMisspeltVariantNamesTheNearest) {
  const ResultFile file = file_of("names", {{0, "twin", 1e-4}});
  EXPECT_THAT(refusal([&] { pair_inside(file, "twin,twni"); }), HasSubstr("'twin'"));
  EXPECT_THAT(refusal([&] { pair_inside(file, "twin"); }), HasSubstr("A,B"));
}

TEST_F(Compared, AcrossFilesCasesPairByHashAndMachine) {
  const ResultFile before = file_of("before", {{0, "a", 1e-4}, {1, "b", 1e-4}}, 5);
  const ResultFile after = file_of("after", {{1, "b", 2e-4}, {2, "c", 1e-4}}, 5);
  const AcrossFiles across = pair_across(before, after, "");
  EXPECT_EQ(across.only_first, std::vector{case_hash(0)});
  EXPECT_EQ(across.only_second, std::vector{case_hash(2)});
  const std::vector<PairedRows>& pairs = across.pairs;
  ASSERT_EQ(pairs.size(), 1U);
  EXPECT_TRUE(pairs[0].across_files());
  EXPECT_EQ(pairs[0].second.text("case"), case_hash(1));
  EXPECT_EQ(pairs[0].process_medians().first.size(), 5U);
  EXPECT_EQ(compare_processes(pairs[0].process_medians(), 0, {}).verdict, SpeedVerdict::kSlower);
}

TEST_F(Compared, UnlikeMachinesAreRefusedUnlessNamed) {
  const ResultFile here = file_of("here", {{0, "a", 1e-4}});
  const ResultFile there = file_of("there", {{0, "a", 1e-4, "go", "machine-b"}});
  EXPECT_THAT(refusal([&] { pair_across(here, there, ""); }),
              HasSubstr("--machines machine-a,machine-b"));
  EXPECT_EQ(pair_across(here, there, "machine-a,machine-b").pairs.size(), 1U);
  EXPECT_THAT(refusal([&] { pair_across(here, there, "machine-a,machine-c"); }),
              HasSubstr("no machine 'machine-c'"));
}

TEST_F(Compared, DriftComesFromBaselinesAlone) {
  const ResultFile before =
      file_of("before", {{0, "ours", 1e-4}, {1, "library", 1e-4, "go", "machine-a", true}}, 5);
  const ResultFile after =
      file_of("after", {{0, "ours", 3e-4}, {1, "library", 1.1e-4, "go", "machine-a", true}}, 5);
  // The library's own noise is 0.2 % a round: far less than half a percent of a median of 64.
  EXPECT_NEAR(drift_of_baselines(pair_across(before, after, "").pairs), std::log(1.1), 0.005);
}

TEST_F(Compared, ACaseWithoutTimesIsAnObstacle) {
  ResultFile file = file_of("timed", {{0, "a", 1e-4}});
  CaseRecord untimed = make_record(1, 0);
  untimed.row["variant"] = "b";
  untimed.row["group_run"] = "go";
  untimed.row["time_median_s"] = nullptr;
  untimed.row["check_message"] = "needs AMX-INT8";
  write_case_files(scratch_.path() / "timed", std::span(&untimed, 1));
  const std::vector<std::filesystem::path> folders = {scratch_.path() / "timed"};
  const std::string path = scratch_.path() / "both.h5";
  merge_cases(folders, path, {});
  file = read_result_file(path);
  EXPECT_EQ(pair_inside(file, "a,b")[0].obstacle(), "the second was not timed: needs AMX-INT8");
}

}  // namespace
}  // namespace pareto
