// The record of a case while it is filled in: its row of columns and its samples.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/case.h"
#include "harness/case_file.h"
#include "harness/check_battery.h"
#include "harness/error_metrics.h"
#include "harness/experiment.h"

namespace pareto {

/// A number as a row holds it: null where it is not finite.
nlohmann::json number_or_null(double value);

/// What is known of a case before it runs; status "not_checked". `group_run`: id of this go over
/// its group.
CaseRecord blank_record(const Case& subject, const MeasureSettings& measure,
                        const std::string& group_run);

/// A record for a case whose process crashed or hung, with the message of its end.
CaseRecord crashed_record(const Case& subject, const std::string& message,
                          const MeasureSettings& measure, const std::string& group_run);

/// True if the case could be neither checked nor measured; `check_message` says why.
bool is_unprepared(const CaseRecord& record);

/// True of a variant of ours that failed: it has no times.
bool is_refused(const CaseRecord& record);

/// Takes the samples and what came of them out.
void forget_times(CaseRecord& record);

/// A case faster than its ceiling by more than this is called suspect.
inline constexpr double kSuspectFraction = 1.05;

/// Rates and the fraction of the ceiling, from flops, bytes, ceiling_s and time_median_s of the
/// row; nothing without a time.
void put_rates(nlohmann::json& row);

void set_status(CaseRecord& record, CheckStatus status, const std::string& message);

/// Columns `prefix`_max_abs, _rms, _rel_fro, _sqnr_db and _cosine.
void put_metrics(nlohmann::json& row, const std::string& prefix, const ErrorMetrics& metrics);

/// Records as text that crosses a pipe, and back.
std::string to_text(const std::vector<CaseRecord>& records);
std::vector<CaseRecord> records_from_text(const std::string& text);

}  // namespace pareto
