// Which problems `pareto check` and the test suite put every variant through.
#pragma once

#include <vector>

#include "harness/problem.h"
#include "harness/variant.h"

namespace pareto {

/// Default problems of an op with every combination of scheme, format, dtype and kv_dtype, and,
/// for the default of these, every other word option on its own. What the op rejects is left out.
std::vector<Problem> check_matrix(const Op& op);

/// The same for one variant: sizes are brought within the range that its limits declare, lest a
/// variant for few queries, say, is never checked.
std::vector<Problem> check_matrix(const Variant& variant);

}  // namespace pareto
