// pareto plan: what run would measure here, what it would skip and why.

#include "harness/plan.h"

#include <fmt/format.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/experiment_options.h"
#include "cli/verbs.h"
#include "harness/columns.h"
#include "harness/estimate.h"
#include "harness/json_text.h"
#include "harness/registry.h"

namespace pareto {
namespace {

using nlohmann::json;

struct PlanVerbOptions : ExperimentOptions {
  bool as_json = false;
};

// A row a line: a plan may have a hundred thousand of them, too many to be held as a tree.
class RowPrinter {
 public:
  void print(const json& row) {
    fmt::print("{}\n  {}", first_ ? "" : ",", json_text(row));
    first_ = false;
  }

 private:
  bool first_ = true;
};

void print_json(const PlannedExperiment& planned) {
  const Plan& plan = planned.plan;
  fmt::print("{{\"experiment\": {}, \"groups\": {}, \"estimated_s\": {}, \"memory_bytes\": {},\n",
             json_text(json(planned.experiment.path)), plan.groups.size(),
             json(plan.estimated_s).dump(), json(plan.memory_bytes).dump());
  fmt::print(" \"cases\": [");
  RowPrinter cases;
  for (const Group& group : plan.groups) {
    for (const Case& subject : group.cases) {
      json row = words_row(subject);
      row["text"] = subject.text();
      row["estimated_call_s"] = estimated_call_s(subject);
      cases.print(row);
    }
  }
  fmt::print("],\n \"skipped\": [");
  RowPrinter skipped;
  for (const SkippedCase& entry : plan.skipped) {
    json row = words_row(entry.subject);
    row["variant"] = full_name(*entry.subject.variant);
    row["reason"] = entry.reason;
    skipped.print(row);
  }
  fmt::print("]}}\n");
}

void print_table(const PlannedExperiment& planned) {
  for (const Group& group : planned.plan.groups) {
    fmt::print(
        "group {}: {} cases, about {:.1f} s{}\n", group.hash, group.cases.size(), group.estimated_s,
        group.parts > 1
            ? fmt::format(" (too big for half the memory: split by scheme into {})", group.parts)
            : "");
    for (const Case& subject : group.cases) fmt::print("  {} {}\n", subject.hash, subject.text());
  }
  std::map<std::string, std::size_t> reasons;
  for (const SkippedCase& entry : planned.plan.skipped) {
    ++reasons[full_name(*entry.subject.variant) + ": " + entry.reason];
  }
  for (const auto& [reason, count] : reasons) fmt::print("skipped {:>5} x {}\n", count, reason);
  fmt::print("{} cases in {} groups, {} skipped; about {:.0f} s, {:.2f} GB\n", planned.plan.cases(),
             planned.plan.groups.size(), planned.plan.skipped.size(), planned.plan.estimated_s,
             planned.plan.memory_bytes / 1e9);
}

}  // namespace

void add_plan_verb(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<PlanVerbOptions>();
  CLI::App* verb =
      app.add_subcommand("plan", "Cases that can run here, those skipped and why, time and memory");
  add_experiment_options(*verb, *options);
  verb->add_flag("--json", options->as_json, "machine-readable");
  verb->callback([options, &exit_code] {
    const PlannedExperiment planned = plan_experiment(*options);
    if (options->as_json) {
      print_json(planned);
    } else {
      print_table(planned);
    }
    if (planned.plan.cases() == 0 && !planned.plan.skipped.empty()) exit_code = 3;
  });
}

}  // namespace pareto
