// The battery of an op as one variant meets it: inputs beyond its limits at the nearest sizes that
// it takes, so that a kernel for whole tiles is not checked on the two inputs that happen to fit.
#pragma once

#include <string>
#include <vector>

#include "harness/op.h"
#include "harness/variant.h"

namespace pareto {

/// Sizes brought within the ranges and multiples that the variant's limits declare: up to the next
/// multiple, or down where that is beyond the largest. Words stay as they are.
Problem within_limits(const Variant& variant, Problem problem);

/// Inputs may still be declined, by words or by `declines`.
std::vector<BatteryInput> battery_of(const Variant& variant, const Problem& problem);

/// Everything that tells one battery from another, as text.
std::string battery_text(const std::vector<BatteryInput>& battery);

}  // namespace pareto
