#include "harness/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "harness/errors.h"
#include "harness/result_file.h"
#include "harness/result_writer.h"
#include "harness/stored_samples.h"
#include "tests/harness/case_records.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Merge : public ::testing::Test {
 protected:
  Merge() {
    prepare_case_folder(dir("a"));
    prepare_case_folder(dir("b"));
  }
  [[nodiscard]] fs::path dir(const std::string& name) const { return scratch_.path() / name; }
  [[nodiscard]] std::string target() const { return scratch_.path() / "merged.h5"; }
  void write(const std::string& folder, const CaseRecord& record) const {
    write_case_files(dir(folder), std::span(&record, 1));
  }
  [[nodiscard]] MergeSummary merge(const std::vector<std::string>& names,
                                   const MergeOptions& options = {}) const {
    std::vector<fs::path> folders;
    for (const std::string& name : names) folders.push_back(dir(name));
    return merge_cases(folders, target(), options);
  }
  [[nodiscard]] std::string refusal(const std::vector<std::string>& names) const {
    try {
      (void)merge(names);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  }

  const ScratchFolder scratch_{"merge"};
};

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(Merge, EveryCaseBecomesARow) {
  for (int number = 0; number < 5; ++number)
    write(number < 3 ? "a" : "b", make_record(number, number));
  const MergeSummary summary = merge({"a", "b"});
  EXPECT_EQ(summary.cases, 5U);
  EXPECT_EQ(summary.samples, 10U);
  const ResultFile file = read_result_file(target());
  for (int number = 0; number < 5; ++number) {
    const std::size_t row = file.find_case(case_hash(number));
    EXPECT_EQ(file.table().real("threads", row), number + 1);
    EXPECT_EQ(file.table().real("time_median_s", row), 1e-5 * (number + 1));
    EXPECT_EQ(file.table().flag("suspect", row), number % 2 == 1);
    EXPECT_EQ(file.table().text("check_message", row), make_record(number).row["check_message"]);
    EXPECT_TRUE(file.table().at("energy_j").missing(row));
    EXPECT_TRUE(file.table().at("seed").missing(row));
    EXPECT_EQ(file.samples(row).seconds, make_record(number, number).samples.seconds);
    EXPECT_EQ(file.samples(row).round, make_record(number, number).samples.round);
    EXPECT_EQ(file.provenance(row), make_record(number).provenance);
  }
}

TEST_F(Merge, OrderOfFoldersDoesNotMatter) {
  for (int number = 0; number < 6; ++number)
    write(number % 2 == 0 ? "a" : "b", make_record(number));
  CaseRecord elsewhere = make_record(0);
  elsewhere.row["machine"] = "machine-b";
  write("b", elsewhere);
  (void)merge({"a", "b"});
  const std::string first = bytes_of(target());
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // times are stored in seconds
  (void)merge({"b", "a"});
  EXPECT_EQ(bytes_of(target()), first);
}

TEST_F(Merge, CopiesCountOnce) {
  write("a", make_record(0));
  fs::copy_file(case_path(dir("a"), case_hash(0)), case_path(dir("b"), case_hash(0)));
  EXPECT_EQ(merge({"a", "b"}).cases, 1U);
}

TEST_F(Merge, OneCaseOnTwoMachinesIsTwoRows) {
  write("a", make_record(0));
  CaseRecord other = make_record(0);
  other.row["machine"] = "machine-b";
  write("b", other);
  EXPECT_EQ(merge({"a", "b"}).cases, 2U);
}

TEST_F(Merge, TwoResultsForOneCaseOnOneMachineAreRefused) {
  CaseRecord older = make_record(0);
  older.row["finished_at"] = "2025-01-01T00:00:00.000Z";
  older.row["time_median_s"] = 1.0;
  CaseRecord newer = older;
  newer.row["finished_at"] = "2025-01-02T00:00:00.000Z";
  newer.row["time_median_s"] = 2.0;
  write("a", newer);
  write("b", older);
  EXPECT_THAT(refusal({"a", "b"}), ::testing::AllOf(HasSubstr("--keep newest"),
                                                    HasSubstr(case_hash(0)), HasSubstr("/b/")));
  EXPECT_FALSE(fs::exists(target()));
  const MergeSummary summary = merge({"a", "b"}, {.keep_newest = true});
  EXPECT_EQ(summary.cases, 1U);
  EXPECT_EQ(summary.older, 1U);
  EXPECT_EQ(read_result_file(target()).table().real("time_median_s", 0), 2.0);
}

TEST_F(Merge, DamagedFilesAreNamed) {
  write("a", make_record(0));
  write("a", make_record(1));
  const fs::path damaged = case_path(dir("a"), case_hash(1));
  fs::resize_file(damaged, 1000);
  EXPECT_THAT(refusal({"a"}), HasSubstr(damaged.string() + ": truncated"));
  EXPECT_FALSE(fs::exists(target()));
  const MergeSummary summary = merge({"a"}, {.skip_damaged = true});
  EXPECT_EQ(summary.cases, 1U);
  EXPECT_THAT(summary.damaged, ::testing::ElementsAre(HasSubstr(damaged.string())));
}

TEST_F(Merge, WhatIsNoCaseFileIsLeftAlone) {
  write("a", make_record(0));
  write("a", make_record(0));  // the older one goes to superseded/
  std::ofstream(dir("a") / "notes.h5") << "x";
  std::ofstream(dir("a") / ".0123456789abcdef.1.1.host.tmp") << "x";
  EXPECT_EQ(merge({"a"}).cases, 1U);
}

TEST_F(Merge, FoldersWithoutCasesAreRefused) {
  EXPECT_THAT(refusal({"a"}), HasSubstr("holds no case files"));
  EXPECT_THAT(refusal({"none"}), HasSubstr("No such file or directory"));
}

TEST_F(Merge, AnUnwritableTargetIsAMachineError) {
  write("a", make_record(0));
  const std::vector<fs::path> folders = {dir("a")};
  EXPECT_THROW(merge_cases(folders, dir("absent") / "x.h5", {}), MachineError);
}

TEST(StoredSamples, AShortSeriesStays) {
  const SampleSet samples = make_record(0, 8).samples;
  const StoredSamples stored = condense(samples, 3, 8);
  EXPECT_EQ(stored.samples.seconds, samples.seconds);
  EXPECT_THAT(stored.calls, ::testing::Each(3));
}

TEST(StoredSamples, ALongSeriesBecomesMeansOfNeighbouringRounds) {
  SampleSet samples;
  for (int i = 0; i < 80; ++i) {  // 20 rounds of 4 in each of two processes, the second slower
    const int process = i / 40;
    samples.seconds.push_back(process == 0 ? 1 : 3);
    samples.block.push_back(i % 40 / 4);
    samples.round.push_back(i % 40 / 4);
    samples.process.push_back(process);
    samples.start_s.push_back(static_cast<float>(i));
  }
  const StoredSamples stored = condense(samples, 2, 10);
  ASSERT_LE(stored.samples.size(), 10U);
  std::int64_t calls = 0;
  for (std::size_t i = 0; i < stored.samples.size(); ++i) {
    calls += stored.calls[i];
    EXPECT_EQ(stored.samples.seconds[i], stored.samples.process[i] == 0 ? 1 : 3);
    EXPECT_EQ(stored.samples.round[i] % 2, 0);
  }
  EXPECT_EQ(calls, 160) << "every call is behind one stored sample";
}

}  // namespace
}  // namespace pareto
