#include "harness/case_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "harness/errors.h"
#include "harness/hdf5.h"
#include "tests/harness/case_records.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class CaseFile : public ::testing::Test {
 protected:
  [[nodiscard]] const fs::path& dir() const { return scratch_.path(); }
  [[nodiscard]] fs::path path(int number) const { return case_path(dir(), case_hash(number)); }
  void write(std::initializer_list<int> numbers, const std::string& group_run = "go") const {
    std::vector<CaseRecord> records;
    for (const int number : numbers) {
      records.push_back(make_record(number));
      records.back().row["group_run"] = group_run;
    }
    write_case_files(dir(), records);
  }
  // Names in the folder, subfolders included.
  [[nodiscard]] std::vector<std::string> names(const fs::path& folder) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder)) {
      found.push_back(entry.path().filename());
    }
    return found;
  }

  const ScratchFolder scratch_{"case_file"};
};

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_F(CaseFile, HoldsRowSamplesAndProvenance) {
  const CaseRecord written = make_record(3, 5);
  write_case_files(dir(), std::span(&written, 1));
  const CaseReading reading = read_case_file(path(3));
  ASSERT_EQ(reading.invalid, "");
  EXPECT_FALSE(reading.record.row.at("finished_at").get<std::string>().empty());
  nlohmann::json row = reading.record.row;
  row.erase("finished_at");
  EXPECT_EQ(row, written.row);
  EXPECT_EQ(reading.record.samples.seconds, written.samples.seconds);
  EXPECT_EQ(reading.record.samples.block, written.samples.block);
  EXPECT_EQ(reading.record.samples.round, written.samples.round);
  EXPECT_EQ(reading.record.samples.start_s, written.samples.start_s);
  EXPECT_EQ(reading.record.provenance, written.provenance);
}

TEST_F(CaseFile, ACaseWithoutSamplesIsACase) {
  const CaseRecord written = make_record(0, 0);
  write_case_files(dir(), std::span(&written, 1));
  const CaseReading reading = read_case_file(path(0));
  ASSERT_EQ(reading.invalid, "");
  EXPECT_EQ(reading.record.samples.size(), 0U);
}

TEST_F(CaseFile, OpensInTheHdf5LibraryAsItLies) {
  write({1});
  const H5File file = H5File::open(path(1));
  EXPECT_EQ(read_text_attribute(file, file.id(), "format"), "pareto case");
  EXPECT_EQ(read_dataset<double>(file, "samples/seconds").size(), 8U);
}

TEST_F(CaseFile, EveryTruncationIsReportedInvalid) {
  write({0});
  const std::string whole = bytes_of(path(0));
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    std::ofstream(path(0), std::ios::binary | std::ios::trunc) << whole.substr(0, size);
    const CaseReading reading = read_case_file(path(0));
    ASSERT_NE(reading.invalid, "") << size << " of " << whole.size() << " bytes";
    ASSERT_TRUE(reading.record.row.empty());
  }
}

TEST_F(CaseFile, EveryFlippedByteIsReportedInvalid) {
  write({0});
  const std::string whole = bytes_of(path(0));
  for (std::size_t at = 0; at < whole.size(); at += 61) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    std::ofstream(path(0), std::ios::binary | std::ios::trunc) << damaged;
    ASSERT_NE(read_case_row(path(0)).invalid, "") << "byte " << at;
  }
}

TEST_F(CaseFile, SaysWhatIsWrongWithAForeignFile) {
  EXPECT_EQ(read_case_file(path(0)).invalid, "No such file or directory");
  std::ofstream(path(0)) << "hello";
  EXPECT_EQ(read_case_file(path(0)).invalid, "not an HDF5 file");
  H5File file = H5File::create(path(1));
  file.close();
  EXPECT_EQ(read_case_file(path(1)).invalid, "truncated, or not a case file");
  write({2});
  fs::copy_file(path(2), path(3));
  EXPECT_THAT(read_case_file(path(3)).invalid, HasSubstr("another case"));
  fs::create_directory(path(4));
  EXPECT_EQ(read_case_file(path(4)).invalid, "Is a directory");
}

TEST_F(CaseFile, OlderFilesMoveToSuperseded) {
  write({0, 1});
  const std::string first = bytes_of(path(0));
  CaseRecord again = make_record(0);
  again.row["time_median_s"] = 7.0;
  write_case_files(dir(), std::span(&again, 1));
  write_case_files(dir(), std::span(&again, 1));
  EXPECT_EQ(read_case_file(path(0)).record.row.at("time_median_s"), 7.0);
  EXPECT_EQ(bytes_of(dir() / "superseded" / (case_hash(0) + ".1.h5")), first);
  EXPECT_EQ(names(dir() / "superseded").size(), 2U);
  EXPECT_TRUE(read_case_file(path(1)).ok());
}

TEST_F(CaseFile, TemporaryFilesOfDeadProcessesGoThoseOfLivingStay) {
  char host[256] = {};
  ::gethostname(host, sizeof(host) - 1);
  const pid_t dead = fork();
  if (dead == 0) _exit(0);
  waitpid(dead, nullptr, 0);
  const auto temporary = [&](pid_t process, const std::string& on) {
    return dir() / ("." + case_hash(0) + "." + std::to_string(process) + ".1." + on + ".tmp");
  };
  std::ofstream(temporary(dead, host)) << "x";
  std::ofstream(temporary(::getpid(), host)) << "x";
  std::ofstream(temporary(dead, "another-host")) << "x";
  std::ofstream(dir() / ".notes.tmp") << "x";
  prepare_case_folder(dir());
  EXPECT_FALSE(fs::exists(temporary(dead, host)));
  EXPECT_TRUE(fs::exists(temporary(::getpid(), host)));
  EXPECT_TRUE(fs::exists(temporary(dead, "another-host")));
  EXPECT_TRUE(fs::exists(dir() / ".notes.tmp"));
}

TEST_F(CaseFile, AFolderThatCannotBeWrittenIsNamedBeforehand) {
  EXPECT_THROW(prepare_case_folder("/proc/no-such-place/cases"), MachineError);
  std::ofstream(dir() / "file") << "x";
  EXPECT_THROW(prepare_case_folder(dir() / "file"), InputError);
}

// Stands for a full disk: every write beyond the limit fails.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_DFL);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

TEST_F(CaseFile, AFailedWriteLeavesOlderFilesAndNoLitter) {
  write({0});
  const std::string before = bytes_of(path(0));
  std::string message;
  {
    const FileSizeLimit limit(4096);
    try {
      write({0, 1});
    } catch (const MachineError& error) {
      message = error.what();
    }
  }
  EXPECT_THAT(message, HasSubstr(path(0).string() + ": File too large"));
  EXPECT_EQ(bytes_of(path(0)), before);
  EXPECT_EQ(names(dir()).size(), 1U);
}

TEST_F(CaseFile, WritersInOneFolderLeaveWholeFiles) {
  constexpr int kWriters = 4;
  std::vector<pid_t> children;
  for (int writer = 0; writer < kWriters; ++writer) {
    const pid_t child = fork();
    if (child == 0) {
      for (int round = 0; round < 10; ++round) {
        prepare_case_folder(dir());
        write({0, 1, 2}, std::to_string(writer) + "." + std::to_string(round));
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  std::set<std::string> goes;
  for (int number = 0; number < 3; ++number) {
    const CaseReading reading = read_case_file(path(number));
    ASSERT_EQ(reading.invalid, "");
    goes.insert(reading.record.row.at("group_run"));
  }
  EXPECT_EQ(goes.size(), 1U) << "files of one group come from one go";
  EXPECT_EQ(names(dir()).size(), 4U) << "three cases and superseded/";
}

TEST_F(CaseFile, NamesOfCaseFilesAreRecognised) {
  EXPECT_TRUE(is_case_file_name("0123456789abcdef.h5"));
  EXPECT_FALSE(is_case_file_name("0123456789abcdeF.h5"));
  EXPECT_FALSE(is_case_file_name("results.h5"));
  EXPECT_FALSE(is_case_file_name("0123456789abcdef.tmp"));
}

TEST(CaseDemand, AsksForMachineBuildProcessesAndPrecision) {
  const CaseRecord record = make_record(0);  // reached 0.5 %
  const Demand met{.machine = "machine-a", .build = "build-1", .processes = 1, .precision = 0.006};
  EXPECT_EQ(why_not_valid(record.row, met), "");
  Demand demand = met;
  demand.machine = "machine-b";
  EXPECT_THAT(why_not_valid(record.row, demand), HasSubstr("machine"));
  demand = met;
  demand.build = "build-2";
  EXPECT_THAT(why_not_valid(record.row, demand), HasSubstr("build"));
  demand = met;
  demand.processes = 5;
  EXPECT_EQ(why_not_valid(record.row, demand), "measured in 1 processes, 5 asked");
  demand = met;
  demand.precision = 0.001;
  EXPECT_THAT(why_not_valid(record.row, demand), HasSubstr("0.005"));
}

TEST(CaseDemand, WhatTheBudgetEndedCountsUnderTheSameBudget) {
  CaseRecord record = make_record(0);
  record.row["time_hi_s"] = nullptr;  // too few blocks for an interval
  const Demand demand{
      .machine = "machine-a", .build = "build-1", .processes = 1, .precision = 0.01, .budget_s = 2};
  EXPECT_EQ(why_not_valid(record.row, demand), "");
  record.row["budget_s"] = 0.1;
  EXPECT_NE(why_not_valid(record.row, demand), "");
  record.row["budget_s"] = 2;
  record.row["precision"] = 0.05;
  EXPECT_NE(why_not_valid(record.row, demand), "");
}

TEST(CaseDemand, EnergyThatNobodyAskedForIsMeasuredWhenAsked) {
  CaseRecord record = make_record(0);
  Demand demand{.machine = "machine-a", .build = "build-1", .precision = 0.01, .energy = true};
  record.row["energy_reason"] = "not asked for (--energy)";
  EXPECT_EQ(why_not_valid(record.row, demand), "measured without energy");
  demand.energy = false;
  EXPECT_EQ(why_not_valid(record.row, demand), "");
  demand.energy = true;
  record.row["energy_reason"] = "no powercap here";
  EXPECT_EQ(why_not_valid(record.row, demand), "");
}

TEST(CaseDemand, ACaseThatCouldNotBeTimedIsFinished) {
  CaseRecord record = make_record(0, 0);
  record.row["time_median_s"] = nullptr;
  EXPECT_EQ(
      why_not_valid(record.row, {.machine = "machine-a", .build = "build-1", .precision = 1e-9}),
      "");
}

}  // namespace
}  // namespace pareto
