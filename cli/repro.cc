// pareto repro: one case of a result file again, here.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/case_options.h"
#include "cli/timed_table.h"
#include "cli/verbs.h"
#include "harness/case_record.h"
#include "harness/errors.h"
#include "harness/estimate.h"
#include "harness/registry.h"
#include "harness/result_file.h"
#include "harness/runner.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

struct ReproOptions {
  std::string file;
  std::string hash;
  int iterations = 0;
  bool no_check = false;
};

// Another content would be another case, and its time nothing to compare with.
void require_same_content(const Source& source, const std::string& measured_in) {
  if (source.distribution != "file") return;
  const std::string place = source.file + ":/" + source.tensor;
  if (content_hash(read_tensors(place)) == source.content) return;
  throw InputError(
      fmt::format("{}: its tensors have changed since they were measured in {}; pareto time "
                  "measures them as they are",
                  place, measured_in));
}

Case stored_case(const ResultFile& file, const std::string& hash) {
  const nlohmann::json row = file.row_of(hash);
  try {
    return case_from_row(row);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: case '{}': {}", file.path(), hash, error.what()));
  }
}

void reproduce(const ReproOptions& options, int& exit_code) {
  const ResultFile file = read_result_file(options.file);
  const Case subject = stored_case(file, options.hash);
  require_same_content(subject.source, options.file);
  if (subject.hash.compare(0, options.hash.size(), options.hash) != 0) {
    fmt::print(stderr,
               "note: this program gives the case the hash {}: its defaults differ from "
               "those of {}\n",
               subject.hash, options.file);
  }
  const std::string reason = obstacle(*subject.variant, subject.problem, subject.threads);
  if (!reason.empty()) throw CannotRunError(full_name(*subject.variant) + ": " + reason);
  MeasureSettings measure{.precision = 0.01, .budget_s = 2, .min_blocks = 32};
  if (options.iterations > 0) {
    measure.budget_s = options.iterations * estimated_call_s(subject);
    measure.precision = 1e-6;  // no earlier end
    measure.max_samples = std::max<std::int64_t>(measure.max_samples, options.iterations);
  }
  const Group group{.hash = subject.group,
                    .cases = {subject},
                    .estimated_s = estimated_case_s(subject, measure.budget_s, measure.processes)};
  RunOptions run_options;
  run_options.check = !options.no_check;
  const std::vector<CaseRecord> records =
      measure_isolated(group, measure, run_options, measure_ceilings_isolated(/*quick=*/true), {});
  print_timed(records);
  if (is_unprepared(records.front())) exit_code = static_cast<int>(ExitCode::kCannotRun);
  const std::string status = records.front().row.at("check_status");
  const bool bad = status == "fail" || status == "untrusted";
  if (bad && !subject.variant->baseline) {
    exit_code = static_cast<int>(ExitCode::kCheckFailed);
  }
}

}  // namespace

void add_repro_verb(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ReproOptions>();
  CLI::App* verb = app.add_subcommand("repro", "One case of a result file again, on this machine");
  verb->add_option("file", options->file, "FILE.h5")->required();
  verb->add_option("case", options->hash, "case hash, or the beginning of one")->required();
  verb->add_option("--iterations", options->iterations, "about this many calls, for profilers")
      ->check(CLI::Range(1, 1000000000));
  verb->add_flag("--no-check", options->no_check, "skip the checks");
  verb->callback([options, &exit_code] { reproduce(*options, exit_code); });
}

}  // namespace pareto
