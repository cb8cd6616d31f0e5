// The [[sweep]] tables of an experiment.
#pragma once

#include <toml++/toml.h>

#include <string>
#include <vector>

#include "harness/experiment.h"

namespace pareto {

/// The keys that a sweep over `op` may have.
std::vector<std::string> sweep_words(const Op& op);

/// Reads and validates one [[sweep]]. `shapes` are relative to the folder of `path`; `file`, like
/// every other path, to the folder in which the program runs.
Sweep read_sweep(const std::string& path, const toml::node& node);

/// Puts `value` in place of what the sweep has for `key`.
void read_sweep_key(const std::string& path, const std::string& key, const toml::node& value,
                    Sweep& sweep);

/// InputError if the sweep draws from files and names none; `by` says whose doing that is.
void require_source(const Sweep& sweep, const std::string& by);

}  // namespace pareto
