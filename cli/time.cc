// pareto time: check, time and compare a few variants on one problem; no file needed.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/case_options.h"
#include "cli/progress_line.h"
#include "cli/real_range.h"
#include "cli/timed_table.h"
#include "cli/verbs.h"
#include "harness/case_record.h"
#include "harness/errors.h"
#include "harness/estimate.h"
#include "harness/json_text.h"
#include "harness/registry.h"
#include "harness/runner.h"

namespace pareto {
namespace {

struct TimeOptions {
  CaseOptions case_options;
  MeasureSettings measure{.precision = 0.01, .budget_s = 2, .min_blocks = 32};
  bool as_json = false;
  bool no_check = false;
};

Group group_of(std::vector<Case> cases, const MeasureSettings& measure) {
  Group group;
  group.hash = cases.front().group;
  std::string first_reason;
  for (Case& subject : cases) {
    const std::string reason = obstacle(*subject.variant, subject.problem, subject.threads);
    if (!reason.empty()) {
      fmt::print(stderr, "skipped {}: {}\n", full_name(*subject.variant), reason);
      continue;
    }
    group.estimated_s += estimated_case_s(subject, measure.budget_s, measure.processes);
    group.cases.push_back(std::move(subject));
  }
  if (group.cases.empty()) throw CannotRunError("none of these variants can run this problem here");
  return group;
}

void time_variants(const TimeOptions& options, int& exit_code) {
  const Group group = group_of(cases_from(options.case_options), options.measure);
  ProgressLine progress;
  progress.show("measuring this machine's ceilings", false);
  const Ceilings ceilings = measure_ceilings_isolated(/*quick=*/true);
  progress.show(fmt::format("timing {}", group.cases.front().text()), false);
  RunOptions run_options;
  run_options.check = !options.no_check;
  const std::vector<CaseRecord> records =
      measure_isolated(group, options.measure, run_options, ceilings, {});
  progress.clear();
  if (options.as_json) {
    fmt::print("{}\n", json_text(timed_json(records), 1));
  } else {
    print_timed(records);
  }
  if (std::all_of(records.begin(), records.end(), is_unprepared)) {
    exit_code = static_cast<int>(ExitCode::kCannotRun);
  }
  for (std::size_t i = 0; i < records.size(); ++i) {
    const std::string status = records[i].row.at("check_status");
    const bool bad = status == "fail" || status == "untrusted";
    if (bad && !group.cases[i].variant->baseline) {
      exit_code = static_cast<int>(ExitCode::kCheckFailed);
    }
  }
}

}  // namespace

void add_time_verb(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<TimeOptions>();
  CLI::App* verb =
      app.add_subcommand("time", "Checks, times and compares variants; writes no file");
  add_case_options(*verb, options->case_options, "names, separated by commas");
  verb->add_option("--cache", options->case_options.cache, "warm or cold")
      ->check(CLI::IsMember({"warm", "cold"}));
  verb->add_option("--precision", options->measure.precision, "half-width of the interval")
      ->check(real_range(1e-6, 1.0));
  verb->add_option("--budget", options->measure.budget_s, "seconds of sampling per variant")
      ->check(real_range(1e-4, 86400.0));
  verb->add_option("--processes", options->measure.processes, "fresh processes")
      ->check(CLI::Range(1, 1000));
  verb->add_flag("--no-check", options->no_check, "time unverified: the status says not_checked");
  verb->add_flag("--json", options->as_json, "machine-readable");
  verb->footer(
      "Example:\n  pareto time qgemm --variant avx512_vnni,onednn --set M=16 N=4096 K=4096 "
      "scheme=w8a8\nThe first variant is compared with each of the others.");
  verb->callback([options, &exit_code] { time_variants(*options, exit_code); });
}

}  // namespace pareto
