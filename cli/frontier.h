// Which cases of a result nobody beats in both speed and accuracy.
#pragma once

#include <vector>

#include "harness/result_table.h"

namespace pareto {

/// Per row: true if in its group and on its machine no other sound case is at least as fast
/// (time_median_s) and as accurate (total_rel_fro), and better in one. Sound: its check passed and
/// its rate is not suspect. Of identical points all are on the frontier.
std::vector<bool> frontier_rows(const ResultTable& table);

}  // namespace pareto
