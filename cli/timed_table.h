// Records of one group as `time` and `repro` print them, each compared with the first.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "harness/case_file.h"

namespace pareto {

/// A table: median, interval, rate, % of ceiling, errors, status, and the first variant's speed-up
/// over each other one. Failure messages follow.
void print_timed(const std::vector<CaseRecord>& records);

/// {"cases":[…], "pairs":[{"first","second","verdict","ratio","ratio_lo","ratio_hi","reason"}]}:
/// the first variant of all is the second of every pair, with the verdict that it has in `compare`.
nlohmann::json timed_json(const std::vector<CaseRecord>& records);

}  // namespace pareto
