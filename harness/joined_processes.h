// A case that was measured by several processes.
#pragma once

#include "harness/case_record.h"

namespace pareto {

/// Samples of one more process join those of the first; the row keeps the first's checks.
void join_process(CaseRecord& record, const CaseRecord& more);

/// Median and interval over the samples of processes 0 to `processes` − 1.
void summarize_processes(CaseRecord& record, int processes);

}  // namespace pareto
