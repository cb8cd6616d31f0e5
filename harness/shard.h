// The part of a plan that one of several tasks measures.
#pragma once

#include <string>

#include "harness/plan.h"

namespace pareto {

/// "2/8" → {2, 8}; "auto" → the scheduler's task number (Slurm array, MPI rank), or {1, 1} where no
/// scheduler has set one. InputError else. Returns the scheduler; "" if none was asked or found.
std::string parse_shard(const std::string& text, PlanOptions& options);

}  // namespace pareto
