#include "harness/experiment_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "harness/columns.h"
#include "harness/registry.h"
#include "harness/toml_values.h"

namespace pareto {
namespace {

struct FigureKind {
  std::string name;
  std::vector<std::string> keys;  ///< besides kind and where
};

// What the functions of paper/pareto read.
const std::vector<FigureKind> kKinds = {
    {"frontier", {"op", "x", "y", "by"}},
    {"scaling", {"op", "x", "y", "by", "limit", "ceiling", "log_y"}},
    {"roofline", {"op"}},
    {"bars", {"op", "y", "by", "limit"}},
    {"crossover", {"op", "x", "dense", "limit"}},
    {"ecdf", {"op", "x", "by"}},
    {"table", {"columns"}}};

const FigureKind& kind_of(const std::string& path, const toml::node& node) {
  std::vector<std::string> names;
  for (const FigureKind& kind : kKinds) names.push_back(kind.name);
  const std::string where = location(path, node);
  const std::string name = scalar_text(where, "kind", node);
  check_words(where, "kind", {name}, names);
  return *std::find_if(kKinds.begin(), kKinds.end(),
                       [&](const FigureKind& kind) { return kind.name == name; });
}

// Columns that hold numbers, or all.
std::vector<std::string> column_names(bool numbers) {
  std::vector<std::string> names;
  for (const Column& column : columns()) {
    if (!numbers || column.type != ColumnType::kText) names.push_back(column.name);
  }
  return names;
}

void check_where(const std::string& path, const toml::node& node) {
  const toml::table* where = node.as_table();
  if (where == nullptr) fail(location(path, node), "where must be a table: { column = value }");
  for (const auto& [column, value] : *where) {
    check_words(location(path, value), "column", {std::string(column.str())}, column_names(false));
  }
}

void check_value(const std::string& path, const FigureKind& kind, const std::string& key,
                 const toml::node& value) {
  const std::string where = location(path, value);
  if (key == "where") return check_where(path, value);
  if (key == "columns") {
    return check_words(where, "column", texts(path, key, value), column_names(false));
  }
  const std::string text = scalar_text(where, key, value);
  if (key == "x" || key == "y") {
    check_words(where, "column of numbers", {text}, column_names(true));
  } else if (key == "by") {
    // Bars are one for each variant.
    check_words(where, "column", {text},
                kind.name == "bars" ? std::vector<std::string>{"variant"} : column_names(false));
  } else if (key == "op") {
    std::vector<std::string> names;
    for (const Op* op : ops()) names.emplace_back(op->name());
    check_words(where, "op", {text}, names);
  } else if (key == "limit" && value.value_or(std::int64_t{0}) < 1) {
    fail(where, fmt::format("limit = '{}' is not legal: an integer from 1", text));
  } else if (key == "log_y" && !value.is_boolean()) {
    fail(where, fmt::format("log_y = '{}' is not legal: true or false", text));
  }
}

// As paper/pareto/plot.py takes it: the figure's file lies in the folder asked for.
bool is_file_name(std::string_view name) {
  const auto is_legal = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.';
  };
  return !name.empty() && name.front() != '.' && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), is_legal);
}

}  // namespace

void check_figures(const std::string& path, const toml::table& figures) {
  for (const auto& [name, node] : figures) {
    const std::string where = location(path, node);
    if (!is_file_name(name.str())) {
      fail(where,
           fmt::format("figure.{}: a name is of letters, digits, '_', '-' and '.'", name.str()));
    }
    const toml::table* figure = node.as_table();
    if (figure == nullptr) fail(where, fmt::format("figure.{} must be a table", name.str()));
    const toml::node* kind_node = figure->get("kind");
    if (kind_node == nullptr) fail(where, fmt::format("[figure.{}] without kind", name.str()));
    const FigureKind& kind = kind_of(path, *kind_node);
    std::vector<std::string> known = kind.keys;
    known.insert(known.end(), {"kind", "where"});
    for (const auto& [key, value] : *figure) {
      check_words(location(path, value), "key", {std::string(key.str())}, known);
      check_value(path, kind, std::string(key.str()), value);
    }
  }
}

}  // namespace pareto
