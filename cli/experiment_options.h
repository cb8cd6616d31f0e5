// Options that `plan` and `run` share, and in part `bench`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "harness/experiment.h"
#include "harness/plan.h"

namespace pareto {

struct ExperimentOptions {
  std::string path;
  std::string folder;  ///< of the case files; empty: <experiment>.cases
  std::string filter;
  std::string shard;
  bool quick = false;
  bool energy = false;
  int processes = 0;  ///< 0: as the experiment says
};

void add_experiment_options(CLI::App& verb, ExperimentOptions& options);

struct PlannedExperiment {
  Experiment experiment;
  Plan plan;
  std::string folder;
};

/// Reads the experiment and expands it; says which shard `auto` came to.
PlannedExperiment plan_experiment(const ExperimentOptions& options);

}  // namespace pareto
