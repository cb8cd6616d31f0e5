#include "harness/case_record.h"

#include <cmath>

#include "harness/columns.h"
#include "harness/machine.h"
#include "harness/provenance.h"

namespace pareto {

using nlohmann::json;

json number_or_null(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

bool is_unprepared(const CaseRecord& record) {
  return record.row.at("check_status") == name_of(CheckStatus::kNotChecked) &&
         record.row.at("samples") == 0;
}

bool is_refused(const CaseRecord& record) {
  return record.row.value("check_status", "") == name_of(CheckStatus::kFail) &&
         !record.row.value("baseline", false);
}

void forget_times(CaseRecord& record) {
  for (const char* column : {"time_median_s", "time_lo_s", "time_hi_s", "flops_per_s",
                             "bytes_per_s", "ceiling_s", "ceiling_fraction"}) {
    record.row[column] = nullptr;
  }
  record.row["suspect"] = false;
  record.row["samples"] = 0;
  record.samples = {};
}

void put_rates(json& row) {
  if (!row["time_median_s"].is_number()) return;
  const double median = row["time_median_s"];
  const auto quotient = [&](const char* column) {
    return row[column].is_number() ? row[column].get<double>() / median : NAN;
  };
  const double fraction = quotient("ceiling_s");
  row["flops_per_s"] = number_or_null(quotient("flops"));
  row["bytes_per_s"] = number_or_null(quotient("bytes"));
  row["ceiling_fraction"] = number_or_null(fraction);
  row["suspect"] = fraction > kSuspectFraction;
}

void set_status(CaseRecord& record, CheckStatus status, const std::string& message) {
  record.row["check_status"] = name_of(status);
  record.row["check_message"] = message;
}

CaseRecord blank_record(const Case& subject, const MeasureSettings& measure,
                        const std::string& group_run) {
  CaseRecord record;
  record.row = words_row(subject);
  record.row["machine"] = this_machine().id;
  record.row["build"] = build_id();
  record.row["group_run"] = group_run;
  record.row["processes"] = measure.processes;
  record.row["shape"] = subject.shape;
  record.row["baseline"] = subject.variant->baseline;
  record.row["samples"] = 0;
  record.row["precision"] = measure.precision;
  record.row["budget_s"] = measure.budget_s;
  set_status(record, CheckStatus::kNotChecked, "");
  return record;
}

CaseRecord crashed_record(const Case& subject, const std::string& message,
                          const MeasureSettings& measure, const std::string& group_run) {
  CaseRecord record = blank_record(subject, measure, group_run);
  set_status(record, CheckStatus::kFail, message + "; repeat with: " + subject.command());
  return record;
}

void put_metrics(json& row, const std::string& prefix, const ErrorMetrics& metrics) {
  row[prefix + "_max_abs"] = number_or_null(metrics.max_abs);
  row[prefix + "_rms"] = number_or_null(metrics.rms);
  row[prefix + "_rel_fro"] = number_or_null(metrics.rel_fro);
  row[prefix + "_sqnr_db"] = number_or_null(metrics.sqnr_db);
  row[prefix + "_cosine"] = number_or_null(metrics.cosine);
}

std::string to_text(const std::vector<CaseRecord>& records) {
  json all = json::array();
  for (const CaseRecord& record : records) {
    const SampleSet& samples = record.samples;
    all.push_back({{"row", record.row},
                   {"seconds", samples.seconds},
                   {"block", samples.block},
                   {"round", samples.round},
                   {"process", samples.process},
                   {"start_s", samples.start_s}});
  }
  const std::vector<std::uint8_t> bytes = json::to_msgpack(all);
  return {bytes.begin(), bytes.end()};
}

std::vector<CaseRecord> records_from_text(const std::string& text) {
  std::vector<CaseRecord> records;
  for (const json& entry : json::from_msgpack(text.begin(), text.end())) {
    CaseRecord record;
    record.row = entry.at("row");
    record.samples.seconds = entry.at("seconds").get<std::vector<double>>();
    record.samples.block = entry.at("block").get<std::vector<std::int32_t>>();
    record.samples.round = entry.at("round").get<std::vector<std::int32_t>>();
    record.samples.process = entry.at("process").get<std::vector<std::int32_t>>();
    record.samples.start_s = entry.at("start_s").get<std::vector<float>>();
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace pareto
