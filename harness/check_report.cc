// Reports of checks as text, and the check in a child process.
#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "harness/check_battery.h"
#include "harness/confinement.h"
#include "harness/crash.h"
#include "harness/errors.h"
#include "harness/json_text.h"
#include "harness/registry.h"

namespace pareto {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kStatusNames[] = {"pass", "fail", "untrusted", "not_checked"};

Json number(double value) { return std::isnan(value) ? Json(nullptr) : Json(value); }

// JSON has no infinity either: it travels as text.
Json any_number(double value) {
  return std::isinf(value) ? Json(value > 0 ? "inf" : "-inf") : number(value);
}

double number_from(const Json& json) {
  if (json.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!json.is_string()) return json.get<double>();
  const double infinity = std::numeric_limits<double>::infinity();
  return json.get<std::string>() == "inf" ? infinity : -infinity;
}

Json json_of(const Verdict& v) {
  return {{"pass", v.pass},
          {"check", v.check},
          {"message", v.message},
          {"bound_max", any_number(v.bound_max)},
          {"bound_median", any_number(v.bound_median)},
          {"rms_ratio", any_number(v.rms_ratio)},
          {"n_compared", v.n_compared},
          {"n_wrong", v.n_wrong},
          {"worst_index", v.worst_index},
          {"worst_got", any_number(v.worst_got)},
          {"worst_want", any_number(v.worst_want)},
          {"worst_bound", any_number(v.worst_bound)}};
}

Verdict verdict_from(const Json& json) {
  Verdict v;
  v.pass = json.at("pass");
  v.check = json.at("check");
  v.message = json.at("message");
  v.bound_max = number_from(json.at("bound_max"));
  v.bound_median = number_from(json.at("bound_median"));
  v.rms_ratio = number_from(json.at("rms_ratio"));
  v.n_compared = json.at("n_compared");
  v.n_wrong = json.at("n_wrong");
  v.worst_index = json.at("worst_index");
  v.worst_got = number_from(json.at("worst_got"));
  v.worst_want = number_from(json.at("worst_want"));
  v.worst_bound = number_from(json.at("worst_bound"));
  return v;
}

/// A child that did not come back: the check that its last words name.
CheckReport report_of_end(const Variant& variant, const ChildResult& result,
                          const std::string& repeat_line) {
  CheckReport report;
  report.status = CheckStatus::kFail;
  const bool guard = result.message.find("guard: ") != std::string::npos;
  const bool operands = result.message.find("operands: ") != std::string::npos;
  report.check = guard                              ? "guard"
                 : operands                         ? "operands"
                 : result.end == ChildEnd::kTimeout ? "timeout"
                                                    : "crash";
  report.message =
      fmt::format("{}: {}; repeat with: {}", full_name(variant), result.message, repeat_line);
  return report;
}

}  // namespace

std::string_view name_of(CheckStatus status) { return kStatusNames[static_cast<int>(status)]; }

std::string check_command(const Variant& variant, const Problem& problem) {
  std::string pattern = "^" + full_name(variant) + " ";
  for (const Key& key : problem.op().keys()) {
    if (key.kind != KeyKind::kWord || problem.is_default(key.name)) continue;
    pattern += fmt::format(".* {}={} ", key.name, problem.word(key.name));
  }
  return "pareto check '" + pattern + "'";
}

std::string to_json(const CheckReport& report) {
  Json inputs = Json::array();
  for (const InputReport& input : report.inputs) {
    inputs.push_back(
        {{"input", input.input}, {"skipped", input.skipped}, {"verdict", json_of(input.verdict)}});
  }
  const Json json = {{"status", name_of(report.status)},
                     {"check", report.check},
                     {"message", report.message},
                     {"inputs", inputs},
                     {"bound_max", any_number(report.bound_max)},
                     {"bound_median", any_number(report.bound_median)},
                     {"rms_ratio", any_number(report.rms_ratio)},
                     {"n_compared", report.n_compared},
                     {"spread", any_number(report.spread)}};
  return json_text(json);
}

CheckReport check_report_from_json(const std::string& text) {
  const Json json = Json::parse(text);
  CheckReport report;
  const std::string status = json.at("status");
  for (std::size_t i = 0; i < std::size(kStatusNames); ++i) {
    if (status == kStatusNames[i]) report.status = static_cast<CheckStatus>(i);
  }
  report.check = json.at("check");
  report.message = json.at("message");
  for (const Json& input : json.at("inputs")) {
    report.inputs.push_back(
        {input.at("input"), input.at("skipped"), verdict_from(input.at("verdict"))});
  }
  report.bound_max = number_from(json.at("bound_max"));
  report.bound_median = number_from(json.at("bound_median"));
  report.rms_ratio = number_from(json.at("rms_ratio"));
  report.n_compared = json.at("n_compared");
  report.spread = number_from(json.at("spread"));
  return report;
}

CheckReport check_isolated(const Variant& variant, const Problem& problem, int threads,
                           const CheckOptions& options, double timeout_s) {
  const ChildResult result = run_isolated(
      [&] {
        if (variant.needs_cuda == 0) confine_process();
        ThreadPool pool(threads);
        return to_json(check_variant(variant, problem, pool, options));
      },
      timeout_s);
  if (result.end == ChildEnd::kReturned) return check_report_from_json(result.value);
  if (result.end == ChildEnd::kError) {
    if (result.code == ExitCode::kMachineFailed) throw MachineError(result.message);
    if (result.code == ExitCode::kBadInput) throw InputError(result.message);
    if (result.code == ExitCode::kCannotRun) {
      CheckReport report;
      report.message = result.message;
      return report;
    }
  }
  return report_of_end(
      variant, result,
      options.repeat_line.empty() ? check_command(variant, problem) : options.repeat_line);
}

}  // namespace pareto
