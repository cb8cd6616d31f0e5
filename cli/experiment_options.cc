#include "cli/experiment_options.h"

#include <fmt/format.h>

#include <cstdio>

#include "harness/shard.h"

namespace pareto {

void add_experiment_options(CLI::App& verb, ExperimentOptions& options) {
  verb.add_option("experiment", options.path, "EXPERIMENT.toml")->required();
  verb.add_option("-o,--output", options.folder, "folder of the case files");
  verb.add_option("--filter", options.filter,
                  "regular expression searched in 'op/variant scheme method distribution key=value "
                  "…' as plan prints it");
  verb.add_flag("--quick", options.quick, "the experiment's [quick] table");
  verb.add_option("--shard", options.shard, "I/N: only this part of the groups; auto: scheduler");
  verb.add_option("--processes", options.processes, "fresh processes per group")
      ->check(CLI::Range(1, 1000));
  verb.add_flag("--energy", options.energy, "measure energy too (NVML, RAPL)");
}

PlannedExperiment plan_experiment(const ExperimentOptions& options) {
  PlannedExperiment planned;
  planned.experiment = read_experiment(options.path, options.quick);
  if (options.processes > 0) planned.experiment.measure.processes = options.processes;
  PlanOptions plan_options;
  plan_options.filter = options.filter;
  if (!options.shard.empty()) {
    const std::string scheduler = parse_shard(options.shard, plan_options);
    if (options.shard == "auto") {
      fmt::print(stderr, "shard {}/{} ({})\n", plan_options.shard, plan_options.shards,
                 scheduler.empty() ? "no scheduler's variables are set"
                                   : "from the variables of " + scheduler);
    }
  }
  planned.plan = make_plan(planned.experiment, plan_options);
  planned.folder = options.folder.empty() ? planned.experiment.name + ".cases" : options.folder;
  return planned;
}

}  // namespace pareto
