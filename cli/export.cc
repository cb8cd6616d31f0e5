// pareto export: the columns of a result file as a flat table.

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "cli/table.h"
#include "cli/verbs.h"
#include "harness/durable_file.h"
#include "harness/json_text.h"
#include "harness/result_file.h"

namespace pareto {
namespace {

struct Options {
  std::string file;
  std::string format = "csv";
  std::string output;
};

// RFC 4180: quotes round what holds a comma, a quote or a line break.
std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string as_csv(const ResultTable& table) {
  std::string text;
  for (const ColumnData& data : table.columns) {
    text += (text.empty() ? "" : ",") + csv_cell(data.column.name);
  }
  text += '\n';
  for (std::size_t row = 0; row < table.rows; ++row) {
    std::string line;
    for (const ColumnData& data : table.columns) {
      if (&data != &table.columns.front()) line += ',';
      line += csv_cell(data.print(row));
    }
    text += line + '\n';
  }
  return text;
}

std::string as_json(const ResultTable& table) {
  nlohmann::json cases = nlohmann::json::array();
  for (std::size_t row = 0; row < table.rows; ++row) cases.push_back(table.row(row));
  return json_text(nlohmann::json{{"cases", std::move(cases)}}, 1) + "\n";
}

void export_table(const Options& options) {
  const std::filesystem::path input = options.file;
  refuse_to_overwrite(std::span(&input, 1), "-o", options.output);
  const ResultFile file = read_result_file(options.file);
  const std::string text = options.format == "csv" ? as_csv(file.table()) : as_json(file.table());
  if (options.output.empty()) return print_text(text);
  PendingFile pending(options.output, std::as_bytes(std::span<const char>(text)));
  pending.publish_or_fail();
}

}  // namespace

void add_export_verb(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "export",
      "A result file as a flat table; missing values are empty (csv) or null (json)\n\n"
      "Example: pareto export results.h5 --format csv -o results.csv");
  verb->add_option("file", options->file, "FILE.h5")->required();
  verb->add_option("--format", options->format, "csv or json")
      ->check(CLI::IsMember({"csv", "json"}));
  verb->add_option("-o,--output", options->output, "file to write (default: standard output)");
  verb->callback([options] { export_table(*options); });
}

}  // namespace pareto
