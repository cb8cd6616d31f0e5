// Which problems `pareto check` and the test suite put every variant through.
#pragma once

#include <vector>

#include "harness/problem.h"
#include "harness/variant.h"

namespace pareto {

/// Default problems of an op with every combination of scheme, format, dtype and kv_dtype, and,
/// for the default of these, every other word option on its own, or with the first other word
/// without which the op rejects it. What the op rejects is left out.
std::vector<Problem> check_matrix(const Op& op);

/// The same for one variant, with sizes within its limits. The other options vary under the first
/// combination that it takes, lest a variant for one scheme never meets a bias; sizes between two
/// near limits (head_dim of 64 to 128) are tried at both ends and by doubling in between.
std::vector<Problem> check_matrix(const Variant& variant);

}  // namespace pareto
