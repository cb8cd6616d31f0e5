// pareto show: what a result file says, group by group.

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "cli/case_label.h"
#include "cli/frontier.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "harness/json_text.h"
#include "harness/result_file.h"

namespace pareto {
namespace {

struct Options {
  std::string file;
  bool as_json = false;
  bool frontier_only = false;
};

std::string interval_text(double lo, double hi) {
  if (std::isnan(lo) || std::isnan(hi)) return "-";
  return fmt::format("{} – {}", seconds_text(lo), seconds_text(hi));
}

// What a reader must know about the row before believing it.
std::string remarks(const ResultTable& table, std::size_t row) {
  std::string text;
  if (table.flag("suspect", row)) text += "suspect ";
  if (table.flag("unstable", row)) text += "unstable ";
  const std::string message = table.text("check_message", row);
  if (table.text("check_status", row) != "pass") text += message.substr(0, message.find('\n'));
  return text;
}

std::string group_text(const ResultTable& table, const std::vector<std::size_t>& rows,
                       const std::vector<bool>& on_frontier) {
  TextTable lines({"<frontier", "<variant", "median", "95 % interval", "of ceiling", "GFLOP/s",
                   "total error", "kernel error", "bound", "<check", "<case", "<remarks"});
  for (const std::size_t row : rows) {
    const double rate = table.real("flops_per_s", row) / 1e9;
    lines.add({on_frontier[row] ? "*" : "", inside_label(table, row),
               seconds_text(table.real("time_median_s", row)),
               interval_text(table.real("time_lo_s", row), table.real("time_hi_s", row)),
               percent_text(table.real("ceiling_fraction", row)),
               std::isnan(rate) ? "-" : fmt::format("{:.1f}", rate),
               error_text(table.real("total_rel_fro", row)),
               error_text(table.real("kernel_rel_fro", row)),
               error_text(table.real("bound_max", row)), table.text("check_status", row),
               table.text("case", row), remarks(table, row)});
  }
  return fmt::format("{}  [machine {}]\n{}\n", group_label(table, rows.front()),
                     table.text("machine", rows.front()), lines.text());
}

std::string as_text(const ResultTable& table, const std::vector<bool>& on_frontier,
                    bool frontier_only) {
  // Sorted by label, so that sizes and variants stand together whatever their hashes.
  std::map<std::tuple<std::string, std::string, std::string>, std::vector<std::size_t>> groups;
  for (std::size_t row = 0; row < table.rows; ++row) {
    if (frontier_only && !on_frontier[row]) continue;
    groups[{group_label(table, row), table.text("group", row), table.text("machine", row)}]
        .push_back(row);
  }
  std::string text;
  for (auto& [name, rows] : groups) {
    std::sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) {
      const double time_a = table.real("time_median_s", a);
      const double time_b = table.real("time_median_s", b);
      return std::make_tuple(std::isnan(time_a), std::isnan(time_a) ? 0 : time_a, a) <
             std::make_tuple(std::isnan(time_b), std::isnan(time_b) ? 0 : time_b, b);
    });
    text += group_text(table, rows, on_frontier);
  }
  return text;
}

std::string as_json(const ResultTable& table, const std::vector<bool>& on_frontier,
                    bool frontier_only) {
  nlohmann::json cases = nlohmann::json::array();
  for (std::size_t row = 0; row < table.rows; ++row) {
    if (frontier_only && !on_frontier[row]) continue;
    cases.push_back(table.row(row));
    cases.back()["frontier"] = static_cast<bool>(on_frontier[row]);
  }
  return json_text(nlohmann::json{{"cases", std::move(cases)}}, 1) + "\n";
}

void show(const Options& options) {
  const ResultFile file = read_result_file(options.file);
  const std::vector<bool> on_frontier = frontier_rows(file.table());
  print_text(options.as_json ? as_json(file.table(), on_frontier, options.frontier_only)
                             : as_text(file.table(), on_frontier, options.frontier_only));
}

}  // namespace

void add_show_verb(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "show",
      "Summary of a result file: median, interval, % of ceiling, errors; * marks the frontier\n\n"
      "Example: pareto show results.h5");
  verb->add_option("file", options->file, "FILE.h5")->required();
  verb->add_flag("--frontier", options->frontier_only, "only what nothing beats in time and error");
  verb->add_flag("--json", options->as_json, "{\"cases\":[{\"case\":…, column: value, …}]}");
  verb->callback([options] { show(*options); });
}

}  // namespace pareto
