#include "harness/joined_processes.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "harness/stopping.h"

namespace pareto {
namespace {

// Medians of the blocks of one process, or of all (process < 0), in order.
std::vector<double> block_medians_of(const SampleSet& samples, std::int32_t process) {
  std::map<std::pair<std::int32_t, std::int32_t>, std::vector<double>> blocks;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (process >= 0 && samples.process[i] != process) continue;
    blocks[{samples.process[i], samples.block[i]}].push_back(samples.seconds[i]);
  }
  std::vector<double> medians;
  for (const auto& [key, values] : blocks) medians.push_back(median_of(values));
  return medians;
}

// What tells how the samples were taken covers all processes: sums, the worst reason to stop, the
// lowest clock.
void join_circumstances(nlohmann::json& row, const nlohmann::json& more) {
  const auto number = [](const nlohmann::json& from, const char* column) {
    const auto found = from.find(column);
    return found != from.end() && found->is_number() ? found->get<double>() : NAN;
  };
  row["visits_s"] = number_or_null(number(row, "visits_s") + number(more, "visits_s"));
  row["throttled"] =
      row.value("throttled", std::int64_t{0}) + more.value("throttled", std::int64_t{0});
  row["core_clock_hz"] =
      number_or_null(std::fmin(number(row, "core_clock_hz"), number(more, "core_clock_hz")));
  const std::string reason = more.value("stop_reason", "");
  if (!reason.empty() && reason != "precision") row["stop_reason"] = reason;
  if (more.value("unstable", false)) row["unstable"] = true;
}

}  // namespace

void join_process(CaseRecord& record, const CaseRecord& more) {
  const std::string failed(name_of(CheckStatus::kFail));
  if (more.row.value("check_status", "") == failed &&
      record.row.value("check_status", "") != failed) {
    for (const char* column : {"check_status", "check_message"}) {
      record.row[column] = more.row.at(column);
    }
    if (is_refused(record)) forget_times(record);
  }
  if (is_refused(record)) return;
  SampleSet& into = record.samples;
  const SampleSet& from = more.samples;
  into.seconds.insert(into.seconds.end(), from.seconds.begin(), from.seconds.end());
  into.block.insert(into.block.end(), from.block.begin(), from.block.end());
  into.round.insert(into.round.end(), from.round.begin(), from.round.end());
  into.process.insert(into.process.end(), from.process.begin(), from.process.end());
  into.start_s.insert(into.start_s.end(), from.start_s.begin(), from.start_s.end());
  join_circumstances(record.row, more.row);
}

void summarize_processes(CaseRecord& record, int processes) {
  if (record.samples.size() == 0) return;
  const std::vector<double> pooled = block_medians_of(record.samples, -1);
  std::vector<double> medians;
  for (int process = 0; process < processes; ++process) {
    const std::vector<double> blocks = block_medians_of(record.samples, process);
    if (!blocks.empty()) medians.push_back(median_of(blocks));
  }
  // The median is that of which the interval is.
  const bool by_process = medians.size() >= 5;
  const Interval interval = by_process ? process_interval(medians) : median_interval(pooled);
  record.row["time_median_s"] = number_or_null(median_of(by_process ? medians : pooled));
  record.row["time_lo_s"] = number_or_null(interval.lo);
  record.row["time_hi_s"] = number_or_null(interval.hi);
  record.row["samples"] = record.samples.size();
  put_rates(record.row);
}

}  // namespace pareto
