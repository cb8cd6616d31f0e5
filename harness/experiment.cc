#include "harness/experiment.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "harness/errors.h"
#include "harness/machine.h"
#include "harness/registry.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kMeasureKeys = {"precision", "budget_s", "min_blocks", "processes",
                                               "seed"};
const std::vector<std::string> kSweepKeys = {"op",     "variant", "shapes",       "file",
                                             "tensor", "threads", "distribution", "cache"};
const std::vector<std::string> kDistributions = {"normal",   "uniform", "integer", "outlier",
                                                 "positive", "scaled",  "file"};
const std::vector<std::string> kFigureKinds = {"frontier",  "scaling", "roofline", "bars",
                                               "crossover", "ecdf",    "table"};

std::string location(const std::string& path, const toml::node& node) {
  return fmt::format("{}:{}", path, node.source().begin.line);
}

[[noreturn]] void fail(const std::string& where, const std::string& message) {
  throw InputError(where + ": " + message);
}

std::string scalar_text(const std::string& where, std::string_view key, const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* real = node.as_floating_point()) return fmt::format("{}", real->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  fail(where, fmt::format("{} must be a number, a word or a list of them", key));
}

std::vector<std::string> texts(const std::string& path, std::string_view key,
                               const toml::node& node) {
  const std::string where = location(path, node);
  std::vector<std::string> result;
  if (const toml::array* list = node.as_array()) {
    for (const toml::node& entry : *list) result.push_back(scalar_text(where, key, entry));
    if (result.empty()) fail(where, fmt::format("{} = [] is an empty list: nothing to sweep", key));
  } else {
    result.push_back(scalar_text(where, key, node));
  }
  return result;
}

// Globs of a word key become the words they match; other values are checked one by one.
std::vector<std::string> expand(const std::string& where, const Key& key,
                                const std::vector<std::string>& given) {
  std::vector<std::string> result;
  for (const std::string& text : given) {
    if (key.kind == KeyKind::kWord && text.find_first_of("*?") != std::string::npos) {
      const std::size_t before = result.size();
      for (const std::string& word : key.words) {
        if (matches_glob(text, word)) result.push_back(word);
      }
      if (result.size() == before) {
        fail(where, fmt::format("{} = '{}' matches nothing{}", key.name, text,
                                suggestion(text, key.words)));
      }
      continue;
    }
    try {
      parse_value(key, text);
    } catch (const InputError& error) {
      fail(where, error.what());
    }
    result.push_back(text);
  }
  return result;
}

const Key* find_key(const Op& op, std::string_view name) {
  for (const Key& key : op.keys()) {
    if (key.name == name) return &key;
  }
  return nullptr;
}

std::vector<std::string> sweep_words(const Op& op) {
  std::vector<std::string> words = kSweepKeys;
  for (const Key& key : op.keys()) words.push_back(key.name);
  return words;
}

void check_words(const std::string& where, std::string_view key,
                 const std::vector<std::string>& given, const std::vector<std::string>& known) {
  for (const std::string& word : given) {
    if (std::find(known.begin(), known.end(), word) == known.end()) {
      fail(where, fmt::format("unknown {} '{}'{}", key, word, suggestion(word, known)));
    }
  }
}

toml::table parse_file(const std::string& path, std::string& text) {
  std::ifstream file(path);
  const bool folder = fs::is_directory(path);
  if (!file || folder) {
    throw InputError(fmt::format("{}: {}", path, std::strerror(folder ? EISDIR : errno)));
  }
  std::ostringstream content;
  content << file.rdbuf();
  text = content.str();
  try {
    return toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    throw InputError(
        fmt::format("{}:{}: not TOML: {}", path, error.source().begin.line, error.description()));
  }
}

std::vector<ShapeRow> read_shapes(const std::string& path, const Op& op) {
  std::string text;
  const toml::table root = parse_file(path, text);
  const toml::array* rows = root["shape"].as_array();
  if (rows == nullptr || rows->empty()) fail(path, "no [[shape]] rows");
  std::vector<ShapeRow> result;
  for (const toml::node& node : *rows) {
    const std::string where = location(path, node);
    const toml::table* table = node.as_table();
    if (table == nullptr) fail(where, "a shape must be a [[shape]] table");
    ShapeRow row;
    for (const auto& [key, value] : *table) {
      if (key.str() == "name") {
        row.name = scalar_text(where, "name", value);
        continue;
      }
      const Key* known = find_key(op, key.str());
      if (known == nullptr) {
        fail(where,
             fmt::format("unknown key '{}'{}", key.str(), suggestion(key.str(), sweep_words(op))));
      }
      row.sizes.push_back({known->name, expand(where, *known, texts(path, key.str(), value))});
      if (row.sizes.back().values.size() != 1) fail(where, "a shape takes one value a key");
    }
    result.push_back(row);
  }
  return result;
}

// A number, "all" cores, or "doubling": 1, 2, 4 … and all cores.
std::vector<int> thread_counts_of(const std::string& where, const std::string& text) {
  const int all = this_machine().cores;
  if (text == "all") return {all};
  if (text == "doubling") {
    std::vector<int> counts;
    for (int count = 1; count < all; count *= 2) counts.push_back(count);
    counts.push_back(all);
    return counts;
  }
  const Key key{.name = "threads", .min = 1, .max = 4096};
  try {
    return {static_cast<int>(std::get<std::int64_t>(parse_value(key, text)))};
  } catch (const InputError& error) {
    fail(where, std::string(error.what()) + ", 'all' or 'doubling'");
  }
}

std::vector<int> thread_counts(const std::string& where, const std::vector<std::string>& given) {
  std::vector<int> counts;
  for (const std::string& text : given) {
    for (const int count : thread_counts_of(where, text)) {
      if (std::find(counts.begin(), counts.end(), count) == counts.end()) counts.push_back(count);
    }
  }
  return counts;
}

void read_sweep_key(const std::string& path, const std::string& key, const toml::node& value,
                    Sweep& sweep) {
  const std::string where = location(path, value);
  const std::vector<std::string> given = texts(path, key, value);
  if (key == "variant") {
    sweep.variants = given;
    sweep.variants_where = where;
  } else if (key == "shapes") {
    const fs::path file = fs::path(path).parent_path() / given.at(0);
    sweep.shapes = read_shapes(file.string(), *sweep.op);
  } else if (key == "file") {
    sweep.file = given.at(0);
  } else if (key == "tensor") {
    sweep.tensors = given;
  } else if (key == "threads") {
    sweep.threads = thread_counts(where, given);
  } else if (key == "distribution") {
    check_words(where, key, given, kDistributions);
    sweep.distributions = given;
  } else if (key == "cache") {
    check_words(where, key, given, {"warm", "cold"});
    sweep.caches = given;
  } else {
    const Key* known = find_key(*sweep.op, key);
    if (known == nullptr) {
      fail(where, fmt::format("unknown key '{}' for op {}{}", key, sweep.op->name(),
                              suggestion(key, sweep_words(*sweep.op))));
    }
    std::erase_if(sweep.axes, [&](const Axis& axis) { return axis.key == key; });
    sweep.axes.push_back({known->name, expand(where, *known, given)});
  }
}

Sweep read_sweep(const std::string& path, const toml::node& node) {
  Sweep sweep;
  sweep.where = location(path, node);
  const toml::table* table = node.as_table();
  if (table == nullptr) fail(sweep.where, "sweep must be a [[sweep]] table");
  const toml::node* op = table->get("op");
  if (op == nullptr) fail(sweep.where, "[[sweep]] without op");
  try {
    sweep.op = &find_op(scalar_text(sweep.where, "op", *op));
  } catch (const InputError& error) {
    fail(location(path, *op), error.what());
  }
  for (const auto& [key, value] : *table) {
    sweep.keys.emplace_back(key.str());
    if (key.str() != "op") read_sweep_key(path, sweep.keys.back(), value, sweep);
  }
  const bool from_file = std::find(sweep.distributions.begin(), sweep.distributions.end(),
                                   "file") != sweep.distributions.end();
  if (from_file && (sweep.file.empty() || sweep.tensors.empty())) {
    fail(sweep.where, "distribution \"file\" needs the keys file and tensor");
  }
  return sweep;
}

double measure_number(const std::string& path, const std::string& key, const toml::node& value,
                      double min, double max) {
  const std::string where = location(path, value);
  const auto number = value.value<double>();
  if (!number || !(*number >= min) || !(*number <= max)) {
    fail(where, fmt::format("{} = '{}' is not legal: a number from {} to {}", key,
                            scalar_text(where, key, value), min, max));
  }
  return *number;
}

void read_measure_key(const std::string& path, const std::string& key, const toml::node& value,
                      MeasureSettings& measure) {
  if (key == "precision") {
    measure.precision = measure_number(path, key, value, 1e-6, 1);
  } else if (key == "budget_s") {
    measure.budget_s = measure_number(path, key, value, 1e-4, 86400);
  } else if (key == "min_blocks") {
    measure.min_blocks = static_cast<int>(measure_number(path, key, value, 1, 1e6));
  } else if (key == "processes") {
    measure.processes = static_cast<int>(measure_number(path, key, value, 1, 1000));
  } else if (key == "seed") {
    measure.seed = static_cast<std::uint64_t>(measure_number(path, key, value, 0, 9e15));
  } else {
    fail(location(path, value),
         fmt::format("unknown key '{}' in [measure]{}", key, suggestion(key, kMeasureKeys)));
  }
}

bool is_measure_key(const std::string& key) {
  return std::find(kMeasureKeys.begin(), kMeasureKeys.end(), key) != kMeasureKeys.end();
}

// A key of [quick] replaces that key wherever a sweep's op knows it.
void read_quick(const std::string& path, const toml::table& quick, Experiment& experiment) {
  for (const auto& [name, value] : quick) {
    const std::string key(name.str());
    if (is_measure_key(key)) {
      read_measure_key(path, key, value, experiment.measure);
      continue;
    }
    bool used = false;
    for (Sweep& sweep : experiment.sweeps) {
      const std::vector<std::string> words = sweep_words(*sweep.op);
      if (key == "op" || std::find(words.begin(), words.end(), key) == words.end()) continue;
      used = true;
      // A sweep that never mentions a key keeps that key's default.
      if (std::find(sweep.keys.begin(), sweep.keys.end(), key) != sweep.keys.end()) {
        read_sweep_key(path, key, value, sweep);
      }
    }
    if (!used) {
      std::vector<std::string> known = kMeasureKeys;
      for (const Sweep& sweep : experiment.sweeps) {
        for (const std::string& word : sweep_words(*sweep.op)) known.push_back(word);
      }
      fail(location(path, value),
           fmt::format("unknown key '{}' in [quick]{}", key, suggestion(key, known)));
    }
  }
}

nlohmann::json to_json(const toml::table& table) {
  std::ostringstream text;
  text << toml::json_formatter{table};
  return nlohmann::json::parse(text.str());
}

void check_figures(const std::string& path, const toml::table& figures) {
  for (const auto& [name, node] : figures) {
    const std::string where = location(path, node);
    const toml::table* figure = node.as_table();
    if (figure == nullptr) fail(where, fmt::format("figure.{} must be a table", name.str()));
    const toml::node* kind = figure->get("kind");
    if (kind == nullptr) fail(where, fmt::format("[figure.{}] without kind", name.str()));
    check_words(location(path, *kind), "kind", texts(path, "kind", *kind), kFigureKinds);
  }
}

}  // namespace

bool matches_glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

Experiment read_experiment(const std::string& path, bool quick) {
  Experiment experiment;
  experiment.path = path;
  experiment.name = fs::path(path).stem().string();
  const toml::table root = parse_file(path, experiment.text);
  const std::vector<std::string> known = {"title", "sweep", "figure", "measure", "quick"};
  for (const auto& [key, value] : root) {
    check_words(location(path, value), "key", {std::string(key.str())}, known);
  }
  if (const toml::node* title = root.get("title")) {
    experiment.title = scalar_text(location(path, *title), "title", *title);
  }
  const toml::array* sweeps = root["sweep"].as_array();
  if (sweeps == nullptr || sweeps->empty()) fail(path + ":1", "no [[sweep]]: nothing to measure");
  for (const toml::node& node : *sweeps) experiment.sweeps.push_back(read_sweep(path, node));
  for (const char* name : {"measure", "quick", "figure"}) {
    const toml::node* node = root.get(name);
    if (node != nullptr && !node->is_table()) {
      fail(location(path, *node), fmt::format("{} must be a table", name));
    }
  }
  if (const toml::table* measure = root["measure"].as_table()) {
    for (const auto& [key, value] : *measure) {
      read_measure_key(path, std::string(key.str()), value, experiment.measure);
    }
  }
  if (const toml::table* figures = root["figure"].as_table()) {
    check_figures(path, *figures);
    experiment.figures = to_json(*figures);
  }
  if (const toml::table* table = root["quick"].as_table(); table != nullptr) {
    Experiment quicker = experiment;  // what is wrong in it is told in either case
    read_quick(path, *table, quicker);
    if (quick) experiment = std::move(quicker);
  }
  return experiment;
}

}  // namespace pareto
