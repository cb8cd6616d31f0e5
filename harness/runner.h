// Runs a plan: one child process per group and repetition, case files when a group is complete.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "harness/group_session.h"
#include "harness/plan.h"

namespace pareto {

struct RunOptions {
  std::filesystem::path folder;  ///< of the case files; empty: nothing is written
  bool energy = false;
  bool check = true;
  std::map<std::string, std::string> provenance;  ///< texts stored in every case file
  /// One line of progress; `final` lines stay, others may be overwritten.
  std::function<void(const std::string& line, bool final)> progress;
};

struct RunSummary {
  std::size_t planned = 0;
  std::size_t measured = 0;  ///< in this go
  std::size_t already = 0;   ///< valid files found
  std::size_t failed = 0;    ///< variants of ours that failed a check
  std::size_t baselines_failed = 0;
  std::vector<std::string> failures;  ///< one line each
};

/// Measures every group that lacks a valid file. MachineError when a file cannot be written; what
/// was reported before stays.
RunSummary run_plan(const Plan& plan, const MeasureSettings& measure, const RunOptions& options);

/// Measures one group in child processes and returns the merged records; a crash or hang of a
/// variant becomes its failed record and the others are measured without it. `battery_passed` is
/// read and extended.
std::vector<CaseRecord> measure_isolated(const Group& group, const MeasureSettings& measure,
                                         const RunOptions& options, const Ceilings& ceilings,
                                         std::set<std::string>& battery_passed);

/// This machine's ceilings, measured now in a child process (quick: within 2 s).
Ceilings measure_ceilings_isolated(bool quick);

}  // namespace pareto
