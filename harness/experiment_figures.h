// The [figure.*] tables of an experiment.
#pragma once

#include <toml++/toml.h>

#include <string>

namespace pareto {

/// Validates what paper/pareto will read once everything is measured: InputError "path:line: …" for
/// a kind, key, column or value that it does not take, with the nearest that it does.
void check_figures(const std::string& path, const toml::table& figures);

}  // namespace pareto
