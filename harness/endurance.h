// Many calls in a row: what is right only at first, or only when the harness seems to look.
#pragma once

#include <string>

#include "harness/check_input.h"

namespace pareto {

/// Up to 256 calls within a quarter of a second on one prepared variant, which go round among the
/// input's contents and a copy of the first in which one element has changed its sign; the outputs
/// are now poisoned and now left with the previous result. "" or "check: what went wrong".
std::string check_endurance(const Variant& variant, const InputCase& input, ThreadPool& pool);

}  // namespace pareto
