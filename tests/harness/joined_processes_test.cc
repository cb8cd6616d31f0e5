#include "harness/joined_processes.h"

#include <gtest/gtest.h>

#include "case_records.h"

namespace pareto {
namespace {

/// A case of one process, timed and passed.
CaseRecord record_of(int process, double seconds, bool baseline = false) {
  CaseRecord record = make_record(0);
  record.row["check_status"] = "pass";
  record.row["check_message"] = "";
  record.row["baseline"] = baseline;
  record.row["suspect"] = false;
  record.row["flops"] = 6e6;
  record.row["bytes"] = 3e6;
  record.row["ceiling_s"] = 1e-3;
  for (double& sample : record.samples.seconds) sample = seconds;
  for (std::int32_t& number : record.samples.process) number = process;
  return record;
}

TEST(JoinedProcesses, RatesAreThoseOfTheJoinedMedian) {
  CaseRecord record = record_of(0, 2e-3);
  join_process(record, record_of(1, 4e-3));
  summarize_processes(record, 2);
  EXPECT_DOUBLE_EQ(record.row["time_median_s"], 3e-3);
  EXPECT_DOUBLE_EQ(record.row["flops_per_s"], 2e9);
  EXPECT_DOUBLE_EQ(record.row["bytes_per_s"], 1e9);
  EXPECT_DOUBLE_EQ(record.row["ceiling_fraction"], 1.0 / 3);
  EXPECT_FALSE(record.row["suspect"]);
  EXPECT_EQ(record.row["samples"], 16);
}

TEST(JoinedProcesses, CircumstancesAreThoseOfAllProcesses) {
  CaseRecord record = record_of(0, 2e-3);
  CaseRecord more = record_of(1, 2e-3);
  record.row.update({{"visits_s", 0.5}, {"throttled", 2}, {"core_clock_hz", 3e9}});
  record.row["stop_reason"] = "precision";
  more.row.update({{"visits_s", 0.25}, {"throttled", 3}, {"core_clock_hz", 2e9}});
  more.row.update({{"stop_reason", "budget"}, {"unstable", true}});
  join_process(record, more);
  EXPECT_DOUBLE_EQ(record.row["visits_s"], 0.75);
  EXPECT_EQ(record.row["throttled"], 5);
  EXPECT_DOUBLE_EQ(record.row["core_clock_hz"], 2e9);
  EXPECT_EQ(record.row["stop_reason"], "budget");
  EXPECT_TRUE(record.row["unstable"]);
}

// Blocks of 1, 1, 1 ms and of 3 ms: the pooled median, of which the interval is, lies at 1 ms, the
// median of the processes' at 2.
TEST(JoinedProcesses, TheMedianOfFewProcessesIsThatOfItsInterval) {
  CaseRecord record = record_of(0, 1e-3);
  CaseRecord more = record_of(1, 3e-3);
  const std::size_t half = more.samples.size() / 2;
  more.samples.seconds.resize(half);
  more.samples.block.resize(half);
  more.samples.round.resize(half);
  more.samples.process.resize(half);
  more.samples.start_s.resize(half);
  for (std::size_t i = 0; i < half; ++i) more.samples.block[i] = 0;
  join_process(record, more);
  summarize_processes(record, 2);
  EXPECT_DOUBLE_EQ(record.row["time_median_s"], 1e-3);
}

TEST(JoinedProcesses, SuspectIsWhatTheJoinedMedianSays) {
  CaseRecord record = record_of(0, 2e-3);
  join_process(record, record_of(1, 1e-5));
  join_process(record, record_of(2, 1e-5));
  summarize_processes(record, 3);
  EXPECT_TRUE(record.row["suspect"]);
}

TEST(JoinedProcesses, ALaterFailureStaysAndTakesOurTimes) {
  for (const bool baseline : {false, true}) {
    CaseRecord record = record_of(0, 2e-3, baseline);
    CaseRecord failed = record_of(1, 2e-3, baseline);
    failed.row["check_status"] = "fail";
    failed.row["check_message"] = "timed: wrong";
    join_process(record, failed);
    join_process(record, record_of(2, 2e-3, baseline));
    summarize_processes(record, 3);
    EXPECT_EQ(record.row["check_status"], "fail");
    EXPECT_EQ(record.row["check_message"], "timed: wrong");
    EXPECT_EQ(record.samples.size(), baseline ? 24 : 0);
    EXPECT_EQ(record.row["time_median_s"].is_number(), baseline);
    EXPECT_EQ(record.row["flops_per_s"].is_number(), baseline);
  }
}

}  // namespace
}  // namespace pareto
