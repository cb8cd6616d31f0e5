// Variants that the source tree has and this program lacks: CUDA ones without nvcc, those of a
// plug-in that is not there. They are listed and planned with the reason, as all that cannot run.
#pragma once

#include <string>
#include <vector>

#include "harness/variant.h"

namespace pareto {

/// Every variant that only some builds have, known by op and name alone.
std::vector<Variant> optional_variants();

/// "" or why this program lacks the variant: it came from optional_variants(), and neither a
/// Registration nor a manifest has replaced it.
std::string absence_of(const Variant& variant);

}  // namespace pareto
