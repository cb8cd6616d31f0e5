// Experiments: TOML files whose keys are columns and whose lists multiply.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "harness/op.h"

namespace pareto {

/// `[measure]`: how long and how precisely each case is sampled.
struct MeasureSettings {
  double precision = 0.01;  ///< half-width of the median's 95 % interval, relative
  double budget_s = 2;      ///< sampling time per case
  int min_blocks = 32;
  int processes = 1;
  std::uint64_t seed = 1;
  std::int64_t max_samples = 2048;  ///< of a case in one process; no key of the table
};

/// One key of a sweep with its values, as text.
struct Axis {
  std::string key;
  std::vector<std::string> values;
};

/// A row of sizes that belong together.
struct ShapeRow {
  std::string name;
  std::vector<Axis> sizes;  ///< one value each
};

struct Sweep {
  const Op* op = nullptr;
  std::string where;              ///< "file:line", for messages
  std::vector<std::string> keys;  ///< that the sweep mentions: those that [quick] may replace
  std::vector<std::string> variants = {"*"};  ///< globs; "!glob" takes away what those before chose
  std::string variants_where;  ///< "file:line" of the globs; empty: the sweep has none
  std::vector<ShapeRow> shapes = {{}};
  std::vector<Axis> axes;  ///< keys of the op
  std::vector<std::string> distributions = {"normal"};
  std::vector<std::string> files;    ///< with distribution "file"
  std::vector<std::string> tensors;  ///< the same; each is read from each of the files
  std::vector<int> threads = {1};
  std::vector<std::string> caches = {"warm"};
};

struct Experiment {
  std::string path;
  std::string name;  ///< file name without .toml
  std::string title;
  std::string text;  ///< the file, verbatim
  std::vector<Sweep> sweeps;
  MeasureSettings measure;
  nlohmann::json figures;  ///< [figure.*] as written
};

/// The words of `distribution`: what an op draws, and "file".
const std::vector<std::string>& known_distributions();

/// Reads and validates; `quick` applies the file's [quick] table. Every error is an InputError
/// "file:line: …" with the nearest right word.
Experiment read_experiment(const std::string& path, bool quick);

}  // namespace pareto
