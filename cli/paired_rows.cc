#include "cli/paired_rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "cli/case_options.h"
#include "harness/errors.h"
#include "harness/registry.h"
#include "harness/stopping.h"

namespace pareto {
namespace {

RowOf row_of(const ResultFile& file, std::size_t row) { return {&file, &file.table(), row}; }

std::string short_name(const std::string& name) { return name.substr(name.rfind('/') + 1); }

bool is_named(const RowOf& row, const std::string& name) {
  const std::string variant = row.text("variant");
  return variant == name || row.text("op") + "/" + variant == name;
}

void check_variant_known(const ResultFile& file, const std::string& name) {
  std::vector<std::string> known;
  for (std::size_t row = 0; row < file.rows(); ++row) {
    if (is_named(row_of(file, row), name)) return;
    known.push_back(file.table().text("variant", row));
  }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  throw InputError(
      fmt::format("{}: no variant '{}'{}", file.path(), name, suggestion(short_name(name), known)));
}

// Everything that must agree inside one file: the go, the machine, and every key of the op.
std::string circumstances(const RowOf& row) {
  std::string text =
      fmt::format("{} {} {}", row.text("group"), row.text("group_run"), row.text("machine"));
  for (const Op* op : ops()) {
    if (op->name() != row.text("op")) continue;
    for (const Key& key : op->keys()) {
      const ColumnData* data = row.table->find(key.name);
      text += fmt::format(" {}={}", key.name, data == nullptr ? "" : data->print(row.row));
    }
  }
  return text;
}

std::set<std::string> machines_of(const ResultFile& file) {
  const std::vector<std::string>& ids = file.table().at("machine").texts;
  return {ids.begin(), ids.end()};
}

// Rows by case and machine.
using RowIndex = std::map<std::pair<std::string, std::string>, std::size_t>;

RowIndex index_rows(const ResultFile& file) {
  RowIndex index;
  for (std::size_t row = 0; row < file.rows(); ++row) {
    index[{file.table().text("case", row), file.table().text("machine", row)}] = row;
  }
  return index;
}

// Which machine of the second file answers to each of the first.
std::map<std::string, std::string> match_machines(const ResultFile& first, const ResultFile& second,
                                                  const std::string& named) {
  const std::set<std::string> ids_first = machines_of(first);
  const std::set<std::string> ids_second = machines_of(second);
  std::map<std::string, std::string> match;
  if (named.empty()) {
    for (const std::string& id : ids_first) {
      if (ids_second.contains(id)) match[id] = id;
    }
    if (match.empty()) {
      throw InputError(fmt::format(
          "unlike machines: {} was measured on {}, {} on {}; to compare them all the same: "
          "--machines {},{}",
          first.path(), fmt::join(ids_first, ", "), second.path(), fmt::join(ids_second, ", "),
          *ids_first.begin(), *ids_second.begin()));
    }
    return match;
  }
  const std::vector<std::string> ids = split_list(named);
  if (ids.size() != 2) throw InputError(fmt::format("--machines '{}': must be X,Y", named));
  if (!ids_first.contains(ids[0])) {
    throw InputError(fmt::format("{}: no machine '{}'; it has {}", first.path(), ids[0],
                                 fmt::join(ids_first, ", ")));
  }
  if (!ids_second.contains(ids[1])) {
    throw InputError(fmt::format("{}: no machine '{}'; it has {}", second.path(), ids[1],
                                 fmt::join(ids_second, ", ")));
  }
  match[ids[0]] = ids[1];
  return match;
}

// One sample a round: a long series was stored as means (stored_samples.h).
bool holds_means(const SampleSet& samples) {
  for (std::size_t i = 1; i < samples.size(); ++i) {
    if (samples.process[i] == samples.process[i - 1] && samples.round[i] == samples.round[i - 1]) {
      return false;
    }
  }
  return true;
}

// Median of the block medians of every process, or of the block means.
std::vector<double> medians_by_process(const SampleSet& samples, bool means) {
  std::map<std::int32_t, std::map<std::int32_t, std::vector<double>>> blocks;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    blocks[samples.process[i]][samples.block[i]].push_back(samples.seconds[i]);
  }
  std::vector<double> medians;
  for (const auto& [process, by_block] : blocks) {
    std::vector<double> block_medians;
    for (const auto& [block, seconds] : by_block) {
      const double sum = std::accumulate(seconds.begin(), seconds.end(), 0.0);
      block_medians.push_back(means ? sum / static_cast<double>(seconds.size())
                                    : median_of(seconds));
    }
    medians.push_back(median_of(block_medians));
  }
  return medians;
}

std::string obstacle_of(const RowOf& row, const char* which) {
  if (!std::isnan(row.real("time_median_s"))) return "";
  const std::string message = row.text("check_message");
  return fmt::format("the {} was not timed: {}", which, message.substr(0, message.find('\n')));
}

}  // namespace

std::string PairedRows::obstacle() const {
  const std::string of_first = obstacle_of(first, "first");
  return of_first.empty() ? obstacle_of(second, "second") : of_first;
}

ProcessMedians PairedRows::process_medians() const {
  const SampleSet samples_first = first.samples();
  const SampleSet samples_second = second.samples();
  const bool means = holds_means(samples_first) || holds_means(samples_second);
  return {medians_by_process(samples_first, means), medians_by_process(samples_second, means)};
}

Comparison PairedRows::compare_by_rounds(const CompareOptions& options) const {
  const SampleSet samples_first = first.samples();
  const SampleSet samples_second = second.samples();
  const std::vector<std::int64_t> rounds_first = distinct_rounds(samples_first);
  const std::vector<std::int64_t> rounds_second = distinct_rounds(samples_second);
  return compare_rounds({samples_first.seconds, rounds_first},
                        {samples_second.seconds, rounds_second}, options);
}

std::vector<PairedRows> pair_inside(const ResultFile& file, const std::string& variants) {
  const std::vector<std::string> names = split_list(variants);
  if (names.size() < 2) throw InputError(fmt::format("--variants '{}': must be A,B", variants));
  for (const std::string& name : names) check_variant_known(file, name);
  std::map<std::string, std::vector<std::size_t>> alike;
  for (std::size_t row = 0; row < file.rows(); ++row) {
    alike[circumstances(row_of(file, row))].push_back(row);
  }
  std::vector<PairedRows> pairs;
  for (const auto& entry : alike) {
    const std::vector<std::size_t>& rows = entry.second;
    const auto find = [&](const std::string& name) {
      return std::find_if(rows.begin(), rows.end(),
                          [&](std::size_t row) { return is_named(row_of(file, row), name); });
    };
    const auto first = find(names[0]);
    if (first == rows.end()) continue;
    for (std::size_t i = 1; i < names.size(); ++i) {
      const auto second = find(names[i]);
      if (second != rows.end()) pairs.push_back({row_of(file, *first), row_of(file, *second)});
    }
  }
  if (pairs.empty()) {
    throw InputError(fmt::format("{}: nowhere were {} measured together with all else equal",
                                 file.path(), fmt::join(names, " and ")));
  }
  return pairs;
}

AcrossFiles pair_across(const ResultFile& first, const ResultFile& second,
                        const std::string& machines) {
  const std::map<std::string, std::string> match = match_machines(first, second, machines);
  RowIndex rows_second = index_rows(second);
  AcrossFiles across;
  for (const auto& [key, row] : index_rows(first)) {
    const auto machine = match.find(key.second);
    if (machine == match.end()) continue;
    const auto other = rows_second.find({key.first, machine->second});
    if (other == rows_second.end()) {
      across.only_first.push_back(key.first);
      continue;
    }
    across.pairs.push_back({row_of(first, row), row_of(second, other->second)});
    rows_second.erase(other);
  }
  if (across.pairs.empty()) {
    throw InputError(fmt::format("{} and {} share no case", first.path(), second.path()));
  }
  for (const auto& entry : rows_second) {
    const auto& [hash, machine] = entry.first;
    for (const auto& ids : match) {
      if (ids.second == machine) across.only_second.push_back(hash);
    }
  }
  return across;
}

double drift_of_baselines(const std::vector<PairedRows>& pairs) {
  std::vector<ProcessMedians> baselines;
  for (const PairedRows& pair : pairs) {
    const bool unchanged = pair.first.table->flag("baseline", pair.first.row) &&
                           pair.first.text("library") == pair.second.text("library");
    if (unchanged && pair.obstacle().empty()) baselines.push_back(pair.process_medians());
  }
  return baseline_drift(baselines);
}

}  // namespace pareto
