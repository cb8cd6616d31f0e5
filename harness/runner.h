// Runs a plan: group after group, case files when a group is complete.
#pragma once

#include <string>
#include <vector>

#include "harness/ceilings.h"
#include "harness/group_run.h"
#include "harness/plan.h"

namespace pareto {

struct RunSummary {
  std::size_t planned = 0;
  std::size_t measured = 0;  ///< in this go
  std::size_t already = 0;   ///< valid files found
  // Of the cases in this go and in the files found:
  std::size_t unprepared = 0;  ///< could not be measured, as the operands are; in neither of those
  std::size_t failed = 0;      ///< variants of ours that failed a check
  std::size_t baselines_failed = 0;
  std::vector<std::string> failures;  ///< of the failed and the unprepared, one line each
};

/// Measures every group that lacks a valid file. MachineError when a file cannot be written; what
/// was reported before stays.
RunSummary run_plan(const Plan& plan, const MeasureSettings& measure, const RunOptions& options);

/// This machine's ceilings, measured now in a child process (quick: within 2 s).
Ceilings measure_ceilings_isolated(bool quick);

}  // namespace pareto
