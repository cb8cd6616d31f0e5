// Options that describe one case by hand: `time` and `eval` share them.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "harness/case.h"
#include "harness/experiment.h"

namespace pareto {

/// `--set key=value …`: keys of the op, and distribution, seed, file, tensor.
struct CaseOptions {
  std::string op;
  std::string variants;  ///< names separated by commas
  std::vector<std::string> settings;
  int threads = 1;
  std::string cache = "warm";
};

/// Adds OP, --variant, --set and --threads to a verb.
void add_case_options(CLI::App& verb, CaseOptions& options, const std::string& variants_help);

/// The settings as pairs; InputError for one without '='.
std::vector<std::pair<std::string, std::string>> parse_settings(
    const std::vector<std::string>& settings);

/// One case per variant named, all on the same problem; file tensors give their sizes.
std::vector<Case> cases_from(const CaseOptions& options);

/// Splits "a,b,c".
std::vector<std::string> split_list(const std::string& text);

}  // namespace pareto
