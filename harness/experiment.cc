#include "harness/experiment.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "harness/errors.h"
#include "harness/experiment_figures.h"
#include "harness/experiment_sweep.h"
#include "harness/toml_values.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kMeasureKeys = {"precision", "budget_s", "min_blocks", "processes",
                                               "seed"};

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

template <typename Integer>
Integer whole_number(const std::string& path, const std::string& key, const toml::node& value,
                     double min, double max) {
  const double number = measure_number(path, key, value, min, max);
  if (number != std::floor(number)) {
    fail(location(path, value), fmt::format("{} = '{}' is not legal: a whole number from {} to {}",
                                            key, number, min, max));
  }
  return static_cast<Integer>(number);
}

void read_measure_key(const std::string& path, const std::string& key, const toml::node& value,
                      MeasureSettings& measure) {
  if (key == "precision") {
    measure.precision = measure_number(path, key, value, 1e-6, 1);
  } else if (key == "budget_s") {
    measure.budget_s = measure_number(path, key, value, 1e-4, 86400);
  } else if (key == "min_blocks") {
    measure.min_blocks = whole_number<int>(path, key, value, 1, 1e6);
  } else if (key == "processes") {
    measure.processes = whole_number<int>(path, key, value, 1, 1000);
  } else if (key == "seed") {
    measure.seed = whole_number<std::uint64_t>(path, key, value, 0, 9e15);
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
    if (key == "op") fail(location(path, value), "op cannot be changed by [quick]");
    bool used = false;
    for (Sweep& sweep : experiment.sweeps) {
      const std::vector<std::string> words = sweep_words(*sweep.op);
      if (std::find(words.begin(), words.end(), key) == words.end()) continue;
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
      std::erase(known, "op");
      fail(location(path, value),
           fmt::format("unknown key '{}' in [quick]{}", key, suggestion(key, known)));
    }
  }
  for (const Sweep& sweep : experiment.sweeps) require_source(sweep, "with [quick], ");
}

nlohmann::json to_json(const toml::table& table) {
  std::ostringstream text;
  text << toml::json_formatter{table};
  return nlohmann::json::parse(text.str());
}

}  // namespace

const std::vector<std::string>& known_distributions() {
  static const std::vector<std::string> kWords = {"normal",   "uniform", "integer", "outlier",
                                                  "positive", "scaled",  "file"};
  return kWords;
}

Experiment read_experiment(const std::string& path, bool quick) {
  Experiment experiment;
  experiment.path = path;
  experiment.name = fs::path(path).stem().string();
  const toml::table root = parse_toml_file(path, experiment.text);
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
