// What a case will take here, before it is run: orders of magnitude.
#pragma once

#include "harness/case.h"

namespace pareto {

/// Seconds of one call, from the cached ceilings.
double estimated_call_s(const Case& subject);
/// Bytes of operands that one call touches.
double estimated_call_bytes(const Case& subject);
/// Bytes that are held while the case is measured: contents and, where cold, all operand sets.
double estimated_memory_bytes(const Case& subject);

/// Seconds of a measured case: drawing and packing of what is held, checks and probes, `sampling_s`
/// of samples or the fewest that are taken, as often as there are `processes`.
double estimated_case_s(const Case& subject, double sampling_s, int processes);

}  // namespace pareto
