// A case that was measured by several processes.
#pragma once

#include "harness/case_record.h"

namespace pareto {

/// Samples of one more process join those of the first, whose checks the row keeps; but a failure
/// stays, and takes the times of a variant of ours away.
void join_process(CaseRecord& record, const CaseRecord& more);

/// Median, interval and rates over the samples of processes 0 to `processes` − 1.
void summarize_processes(CaseRecord& record, int processes);

}  // namespace pareto
