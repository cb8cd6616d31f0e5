// pareto compare: two result files, or two variants inside one.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/case_label.h"
#include "cli/paired_rows.h"
#include "cli/real_range.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "harness/case_record.h"
#include "harness/errors.h"
#include "harness/json_text.h"

namespace pareto {
namespace {

using nlohmann::json;

struct Options {
  std::vector<std::string> files;
  std::string variants;
  std::string machines;
  double margin = 0.02;
  bool as_json = false;
};

// One printed line.
struct Judged {
  const PairedRows* pair;
  Comparison comparison;
  double error_first;
  double error_second;
  bool check_regressed;
};

// Why a time is not to be relied upon: "the second fails its check".
std::string doubt(const RowOf& row, const char* which) {
  const std::string status = row.text("check_status");
  if (status == "fail") return fmt::format("the {} fails its check", which);
  if (status == "untrusted") return fmt::format("the {}'s check is not to be trusted", which);
  if (status != "pass") return fmt::format("the {} was not checked", which);
  return row.table->flag("suspect", row.row) ? fmt::format("the {} is suspect", which) : "";
}

void add_remark(std::string& reason, const std::string& remark) {
  if (!remark.empty()) reason += (reason.empty() ? "" : "; ") + remark;
}

Judged judge(const PairedRows& pair, const CompareOptions& options, double drift) {
  const auto [first, second] = std::pair(pair.first, pair.second);
  Judged judged{&pair, {}, first.real("total_rel_fro"), second.real("total_rel_fro"), false};
  const std::string before = first.text("check_status");
  const std::string now = second.text("check_status");
  judged.check_regressed =
      (now == "fail" && before != "fail") || (now == "untrusted" && before == "pass");
  judged.comparison.reason = pair.obstacle();
  if (!judged.comparison.reason.empty()) {
    judged.comparison.speedup = judged.comparison.lo = judged.comparison.hi = NAN;
    return judged;
  }
  judged.comparison = pair.across_files()
                          ? compare_processes(pair.process_medians(), drift, options)
                          : pair.compare_by_rounds(options);
  add_remark(judged.comparison.reason, doubt(first, "first"));
  add_remark(judged.comparison.reason, doubt(second, "second"));
  return judged;
}

// "less accurate", "more accurate" or "": an error that left the margin.
std::string accuracy_change(const Judged& judged, double margin) {
  const double change = judged.error_second / judged.error_first;
  if (judged.error_first == judged.error_second || std::isnan(change)) return "";
  if (change > 1 + margin) return "less accurate";
  if (change < 1 / (1 + margin)) return "more accurate";
  return "";
}

json to_json(const Judged& judged, double margin) {
  const PairedRows& pair = *judged.pair;
  return {{"case", pair.second.text("case")},
          {"case_first", pair.first.text("case")},
          {"op", pair.first.text("op")},
          {"first", pair.first.text("variant")},
          {"second", pair.second.text("variant")},
          {"group", pair.first.text("group")},
          {"machine", pair.first.text("machine")},
          {"verdict", name_of(judged.comparison.verdict)},
          {"ratio", number_or_null(judged.comparison.speedup)},
          {"ratio_lo", number_or_null(judged.comparison.lo)},
          {"ratio_hi", number_or_null(judged.comparison.hi)},
          {"margin", number_or_null(judged.comparison.margin)},
          {"count", judged.comparison.count},
          {"reason", judged.comparison.reason},
          {"total_rel_fro_first", number_or_null(judged.error_first)},
          {"total_rel_fro_second", number_or_null(judged.error_second)},
          {"accuracy", accuracy_change(judged, margin)},
          {"check_first", pair.first.text("check_status")},
          {"check_second", pair.second.text("check_status")},
          {"check_regressed", judged.check_regressed}};
}

// Sizes and variants stand together, whatever their hashes.
std::string label_of(const PairedRows& pair) {
  return group_label(*pair.second.table, pair.second.row) + " " +
         inside_label(*pair.second.table, pair.second.row);
}

std::string ratio_text(const Comparison& comparison) {
  if (std::isnan(comparison.speedup)) return "-";
  if (std::isnan(comparison.lo)) return fmt::format("{:.3f}x", comparison.speedup);
  return fmt::format("{:.3f}x [{:.3f}, {:.3f}]", comparison.speedup, comparison.lo, comparison.hi);
}

std::string as_text(const std::vector<Judged>& all, double margin, double drift) {
  TextTable table({"<verdict", "<ratio", "first", "second", "error", "error", "<accuracy", "<first",
                   "<second", "<case", "<remark"});
  for (const Judged& judged : all) {
    const PairedRows& pair = *judged.pair;
    table.add({std::string(name_of(judged.comparison.verdict)), ratio_text(judged.comparison),
               seconds_text(pair.first.real("time_median_s")),
               seconds_text(pair.second.real("time_median_s")), error_text(judged.error_first),
               error_text(judged.error_second), accuracy_change(judged, margin),
               inside_label(*pair.first.table, pair.first.row),
               inside_label(*pair.second.table, pair.second.row),
               group_label(*pair.second.table, pair.second.row), judged.comparison.reason});
  }
  return table.text() +
         "ratio: time of the first / time of the second, with its interval; above 1 the second is "
         "faster\n" +
         (drift > 0 ? fmt::format("drift of unchanged baselines between the files: {:.1f} %, added "
                                  "to the margin of FASTER and SLOWER\n",
                                  100 * std::expm1(drift))
                    : "");
}

AcrossFiles pairs_of(const Options& options, const std::vector<ResultFile>& files) {
  if (files.size() == 2) {
    if (!options.variants.empty()) throw InputError("--variants compares inside one file, not two");
    return pair_across(files[0], files[1], options.machines);
  }
  if (options.variants.empty()) {
    throw InputError("one file needs --variants A,B; else give two files");
  }
  return {.pairs = pair_inside(files[0], options.variants), .only_first = {}, .only_second = {}};
}

// A case that went missing is no result of the comparison, but whoever reads it must know.
std::string unpaired_text(const AcrossFiles& across) {
  const auto text = [](const std::vector<std::string>& cases, const char* which) {
    if (cases.empty()) return std::string();
    return fmt::format("only in the {} file: {} case{} ({}{})\n", which, cases.size(),
                       cases.size() == 1 ? "" : "s", cases.front(), cases.size() == 1 ? "" : ", …");
  };
  return text(across.only_first, "first") + text(across.only_second, "second");
}

void compare(const Options& options, int& exit_code) {
  std::vector<ResultFile> files;
  for (const std::string& path : options.files) files.push_back(read_result_file(path));
  AcrossFiles across = pairs_of(options, files);
  std::vector<PairedRows>& pairs = across.pairs;
  std::stable_sort(pairs.begin(), pairs.end(), [](const PairedRows& a, const PairedRows& b) {
    return label_of(a) < label_of(b);
  });
  const double drift = files.size() == 2 ? drift_of_baselines(pairs) : 0;
  const CompareOptions compare_options{
      .margin = options.margin, .confidence = 0.95, .comparisons = static_cast<int>(pairs.size())};
  std::vector<Judged> all;
  json printed = json::array();
  for (const PairedRows& pair : pairs) {
    all.push_back(judge(pair, compare_options, drift));
    printed.push_back(to_json(all.back(), options.margin));
  }
  const json whole = {{"pairs", printed},
                      {"drift", drift},
                      {"only_first", across.only_first},
                      {"only_second", across.only_second}};
  print_text(options.as_json ? json_text(whole, 1) + "\n"
                             : as_text(all, options.margin, drift) + unpaired_text(across));
  const bool regressed = std::any_of(all.begin(), all.end(), [](const Judged& judged) {
    return judged.check_regressed || judged.comparison.verdict == SpeedVerdict::kSlower;
  });
  if (regressed) exit_code = static_cast<int>(ExitCode::kCheckFailed);
}

}  // namespace

void add_compare_verb(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "compare",
      "FASTER, SLOWER, SAME or UNCLEAR: the second against the first; exit 1 if any is SLOWER or "
      "its check got worse\n\n"
      "Examples:\n"
      "  pareto compare before.h5 after.h5             the same cases, at least 5 processes each\n"
      "  pareto compare results.h5 --variants avx2,avx512   inside one interleaved run");
  verb->add_option("files", options->files, "A.h5 B.h5, or one FILE.h5")
      ->required()
      ->expected(1, 2);
  verb->add_option("--variants", options->variants, "A,B: the second against the first");
  verb->add_option("--machines", options->machines,
                   "X,Y: ids of unlike machines, of the first file and of the second");
  verb->add_option("--margin", options->margin, "what counts as the same: 0.02 is 2 %")
      ->check(real_range(0.0, 1.0));
  verb->add_flag("--json", options->as_json,
                 "{\"pairs\":[{\"case\",\"verdict\",\"ratio\",\"ratio_lo\",\"ratio_hi\",…}]}");
  verb->callback([options, &exit_code] { compare(*options, exit_code); });
}

}  // namespace pareto
