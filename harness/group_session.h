// Checks and measures the cases of one group in this process: what a child process of a run does.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "harness/case_file.h"
#include "harness/ceilings.h"
#include "harness/check_battery.h"
#include "harness/plan.h"

namespace pareto {

struct SessionOptions {
  MeasureSettings measure;
  bool check = true;  ///< before timing; once per case, so not in its further processes
  bool energy = false;
  int process = 0;        ///< number of this process among `measure.processes`
  std::string group_run;  ///< id of this go over the group
  /// Batteries (see battery_key) that have passed in this run already.
  std::set<std::string> battery_passed;
  /// Told before each step, so that a crash can be blamed: index into the cases, and what is done.
  std::function<void(int case_index, const std::string& step)> at;
};

/// What the outcome of a battery depends on: the variant, the threads, and the inputs, whose sizes
/// may follow the case's (those of attention's heads do).
std::string battery_key(const Case& subject);

/// One record per case, in the order of `group.cases`. A case that fails its checks has status
/// "fail" and, unless it is a baseline, no samples; one that cannot be prepared has "not_checked"
/// and the reason. Throws InputError and MachineError for what concerns the whole group.
std::vector<CaseRecord> measure_group(const Group& group, const SessionOptions& options,
                                      const Ceilings& ceilings);

}  // namespace pareto
