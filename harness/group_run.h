// Measures a group in child processes, one per repetition, so that a crash ends no run.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "harness/case_file.h"
#include "harness/ceilings.h"
#include "harness/experiment.h"
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

/// Measures one group in child processes and returns the merged records; a crash or hang of a
/// variant becomes its failed record and the others are measured without it. `battery_passed`:
/// see SessionOptions.
std::vector<CaseRecord> measure_isolated(const Group& group, const MeasureSettings& measure,
                                         const RunOptions& options, const Ceilings& ceilings,
                                         const std::set<std::string>& battery_passed);

}  // namespace pareto
