// Globs that choose variants and words.
#pragma once

#include <string_view>

namespace pareto {

/// True if `text` matches a glob of `*` and `?`.
bool matches_glob(std::string_view pattern, std::string_view text);

}  // namespace pareto
