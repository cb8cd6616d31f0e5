// The part of a plan that one of several tasks measures.
#pragma once

#include <string>

#include "harness/plan.h"

namespace pareto {

/// "2/8" → {2, 8}; "auto" → the scheduler's task number (Slurm array, MPI rank). InputError else.
void parse_shard(const std::string& text, PlanOptions& options);

}  // namespace pareto
