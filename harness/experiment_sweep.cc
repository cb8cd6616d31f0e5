#include "harness/experiment_sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "harness/errors.h"
#include "harness/glob.h"
#include "harness/machine.h"
#include "harness/registry.h"
#include "harness/toml_values.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kSweepKeys = {"op",     "variant", "shapes",       "file",
                                             "tensor", "threads", "distribution", "cache"};

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

void append_shapes(const std::string& path, const Op& op, std::vector<ShapeRow>& result) {
  std::string text;
  const toml::table root = parse_toml_file(path, text);
  for (const auto& [key, value] : root) {
    check_words(location(path, value), "key", {std::string(key.str())}, {"shape"});
  }
  const toml::array* rows = root["shape"].as_array();
  if (rows == nullptr || rows->empty()) fail(path, "no [[shape]] rows");
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

}  // namespace

std::vector<std::string> sweep_words(const Op& op) {
  std::vector<std::string> words = kSweepKeys;
  for (const Key& key : op.keys()) words.push_back(key.name);
  return words;
}

void read_sweep_key(const std::string& path, const std::string& key, const toml::node& value,
                    Sweep& sweep) {
  const std::string where = location(path, value);
  const std::vector<std::string> given = texts(path, key, value);
  if (key == "variant") {
    sweep.variants = given;
    sweep.variants_where = where;
  } else if (key == "shapes") {
    sweep.shapes.clear();
    for (const std::string& file : given) {
      append_shapes(fs::path(path).parent_path() / file, *sweep.op, sweep.shapes);
    }
  } else if (key == "file") {
    sweep.files = given;
  } else if (key == "tensor") {
    sweep.tensors = given;
  } else if (key == "threads") {
    sweep.threads = thread_counts(where, given);
  } else if (key == "distribution") {
    check_words(where, key, given, known_distributions());
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
  require_source(sweep, "");
  return sweep;
}

void require_source(const Sweep& sweep, const std::string& by) {
  const bool from_file = std::find(sweep.distributions.begin(), sweep.distributions.end(),
                                   "file") != sweep.distributions.end();
  if (from_file && (sweep.files.empty() || sweep.tensors.empty())) {
    fail(sweep.where, by + "distribution \"file\" needs the keys file and tensor");
  }
}

}  // namespace pareto
