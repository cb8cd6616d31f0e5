// pareto run: measures an experiment, resuming by itself.

#include <fmt/format.h>
#include <unistd.h>

#include <memory>

#include "cli/experiment_options.h"
#include "cli/progress_line.h"
#include "cli/verbs.h"
#include "harness/device.h"
#include "harness/errors.h"
#include "harness/json_text.h"
#include "harness/machine.h"
#include "harness/provenance.h"
#include "harness/runner.h"

namespace pareto {
namespace {

void print_summary(const RunSummary& summary, const Plan& plan, const std::string& folder) {
  for (const std::string& failure : summary.failures) fmt::print("{}\n", failure);
  fmt::print(
      "{} cases: {} measured, {} found finished{}; {} skipped; {} of ours failed, {} "
      "baselines failed. Case files in {}\n",
      summary.planned, summary.measured, summary.already,
      summary.unprepared == 0 ? "" : fmt::format(", {} not measurable", summary.unprepared),
      plan.skipped.size(), summary.failed, summary.baselines_failed, folder);
}

void run(const ExperimentOptions& options, int& exit_code) {
  const PlannedExperiment planned = plan_experiment(options);
  if (planned.plan.cases() == 0) {
    fmt::print("nothing to run: {} cases selected, all skipped (pareto plan says why)\n",
               planned.plan.skipped.size());
    if (!planned.plan.skipped.empty()) exit_code = static_cast<int>(ExitCode::kCannotRun);
    return;
  }
  RunOptions run_options;
  run_options.folder = planned.folder;
  run_options.energy = options.energy;
  run_options.provenance = {{"machine", json_text(this_machine().to_json())},
                            {"device", json_text(device_info().to_json())},
                            {"build", json_text(build_provenance())},
                            {"run", json_text(run_provenance())},
                            {"experiment", planned.experiment.text}};
  ProgressLine progress;
  run_options.progress = [&](const std::string& line, bool final) { progress.show(line, final); };
  const RunSummary summary = run_plan(planned.plan, planned.experiment.measure, run_options);
  progress.clear();
  print_summary(summary, planned.plan, planned.folder);
  if (summary.unprepared == summary.planned) exit_code = static_cast<int>(ExitCode::kCannotRun);
  if (summary.failed > 0) exit_code = static_cast<int>(ExitCode::kCheckFailed);
}

}  // namespace

void add_run_verb(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ExperimentOptions>();
  CLI::App* verb =
      app.add_subcommand("run", "Checks and measures an experiment; resumes by itself");
  add_experiment_options(*verb, *options);
  verb->callback([options, &exit_code] { run(*options, exit_code); });
}

}  // namespace pareto
