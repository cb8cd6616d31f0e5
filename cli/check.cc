// pareto check: numerical agreement only.

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <regex>

#include "cli/progress_line.h"
#include "cli/verbs.h"
#include "harness/case.h"
#include "harness/check_battery.h"
#include "harness/check_matrix.h"
#include "harness/errors.h"
#include "harness/json_text.h"
#include "harness/registry.h"

namespace pareto {
namespace {

using nlohmann::json;

// Hangs show within this time; the largest battery takes a few seconds.
constexpr double kTimeoutS = 300;

struct CheckVerbOptions {
  std::string pattern;
  int threads = 1;
  bool as_json = false;
  bool calls_only = false;
};

struct Tally {
  int passed = 0;
  int called = 0;
  int failed = 0;
  int baselines_failed = 0;  ///< reported; only our own variants fail the run
  int skipped = 0;
  [[nodiscard]] int run() const { return passed + called + failed + baselines_failed; }
};

class Checks {
 public:
  explicit Checks(const CheckVerbOptions& options) : options_(options) {
    try {
      pattern_ = std::regex(options.pattern.empty() ? ".*" : options.pattern);
    } catch (const std::regex_error&) {
      throw InputError(fmt::format("check '{}': not a regular expression", options.pattern));
    }
  }

  void run() {
    for (const Variant* variant : variants()) {
      for (const Problem& problem : check_matrix(*variant)) {
        const Case subject = make_case(*variant, problem);
        if (std::regex_search(subject.text(), pattern_)) check(subject);
      }
    }
    progress_.clear();
    if (options_.as_json) fmt::print("{}\n", json_text(results_, 1));
    if (!options_.as_json) {
      fmt::print(
          "{} {}, {} failed, {} skipped{}\n", options_.calls_only ? tally_.called : tally_.passed,
          options_.calls_only ? "called and not compared" : "passed", tally_.failed, tally_.skipped,
          tally_.baselines_failed == 0
              ? ""
              : fmt::format(", {} of baselines failed", tally_.baselines_failed));
    }
    if (tally_.run() + tally_.skipped == 0) {
      throw InputError(fmt::format("check '{}' matches no variant", options_.pattern));
    }
  }

  [[nodiscard]] int exit_code() const {
    if (tally_.failed > 0) return static_cast<int>(ExitCode::kCheckFailed);
    return tally_.run() == 0 ? static_cast<int>(ExitCode::kCannotRun) : 0;
  }

 private:
  Case make_case(const Variant& variant, const Problem& problem) const {
    Case subject;
    subject.variant = &variant;
    subject.problem = problem;
    subject.threads = options_.threads;
    identify(subject);
    return subject;
  }

  void check(const Case& subject) {
    // More threads than cores are slow, but as right or wrong as few.
    const std::string reason = obstacle(*subject.variant, subject.problem, 1);
    if (!reason.empty()) {
      ++tally_.skipped;
      record(subject, "skipped", "", reason);
      return;
    }
    progress_.show(subject.text(), false);
    CheckOptions how;
    how.compare = !options_.calls_only;
    const CheckReport report =
        check_isolated(*subject.variant, subject.problem, options_.threads, how, kTimeoutS);
    if (options_.calls_only && report.status == CheckStatus::kNotChecked) {
      ++(report.any_input_taken() ? tally_.called : tally_.skipped);
      return record(subject, std::string(name_of(report.status)), "", report.message);
    }
    const bool good = report.status == CheckStatus::kPass;
    if (good) {
      ++tally_.passed;
    } else if (!subject.variant->baseline) {
      ++tally_.failed;
    } else {
      ++(report.status == CheckStatus::kNotChecked ? tally_.skipped : tally_.baselines_failed);
    }
    record(subject, std::string(name_of(report.status)), report.check, report.message);
    if (!good && !options_.as_json) {
      progress_.clear();
      fmt::print("{} {}{}: {}\n", subject.variant->baseline ? "baseline" : "FAIL", subject.text(),
                 report.check.empty() ? "" : " [" + report.check + "]", report.message);
    }
  }

  void record(const Case& subject, const std::string& status, const std::string& check,
              const std::string& message) {
    results_["checks"].push_back({{"variant", full_name(*subject.variant)},
                                  {"problem", subject.problem.text()},
                                  {"status", status},
                                  {"check", check},
                                  {"message", message}});
  }

  const CheckVerbOptions& options_;
  std::regex pattern_;
  ProgressLine progress_;
  Tally tally_;
  json results_ = {{"checks", json::array()}};
};

}  // namespace

void add_check_verb(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<CheckVerbOptions>();
  CLI::App* verb = app.add_subcommand(
      "check", "Numerical agreement of every variant on the batteries of its op");
  verb->add_option("regex", options->pattern,
                   "searched in 'op/variant scheme … key=value', for example 'qgemm/.* w8a8 '");
  verb->add_option("--threads", options->threads, "threads")->check(CLI::Range(1, 4096));
  verb->add_flag("--json", options->as_json, "machine-readable");
  verb->add_flag("--calls-only", options->calls_only,
                 "one call on every input and no comparison: for compute-sanitizer, valgrind, …");
  verb->callback([options, &exit_code] {
    Checks checks(*options);
    checks.run();
    exit_code = checks.exit_code();
  });
}

}  // namespace pareto
