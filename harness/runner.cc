#include "harness/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <set>

#include "harness/case_record.h"
#include "harness/clock.h"
#include "harness/crash.h"
#include "harness/errors.h"
#include "harness/group_session.h"
#include "harness/machine.h"
#include "harness/provenance.h"
#include "harness/registry.h"

namespace pareto {
namespace {

std::string duration(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  if (seconds < 5400) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

// Progress over groups, with the time left by the estimates scaled to what was seen so far.
class Progress {
 public:
  Progress(const std::vector<const Group*>& groups, const RunOptions& options)
      : options_(options), count_(groups.size()) {
    for (const Group* group : groups) left_s_ += group->estimated_s;
  }

  void starts(const Group& group) {
    const std::string eta = done_s_ > 0 ? duration(left_s_ * (now_s() - start_) / done_s_)
                                        : duration(left_s_) + " (estimate)";
    say(fmt::format("[{}/{}] {} cases of {}, threads {}, {}; {} left", number_ + 1, count_,
                    group.cases.size(), group.cases.front().variant->op,
                    group.cases.front().threads, group.cases.front().cache, eta),
        false);
  }

  void ends(const Group& group, std::size_t failed) {
    ++number_;
    left_s_ -= group.estimated_s;
    done_s_ += group.estimated_s;
    say(fmt::format("[{}/{}] group {} written: {} cases{}", number_, count_, group.hash,
                    group.cases.size(), failed == 0 ? "" : fmt::format(", {} FAILED", failed)),
        true);
  }

 private:
  void say(const std::string& line, bool final) const {
    if (options_.progress) options_.progress(line, final);
  }
  const RunOptions& options_;
  std::size_t count_;
  std::size_t number_ = 0;
  double left_s_ = 0;
  double done_s_ = 0;
  double start_ = now_s();
};

// Records without samples of a group whose files are all there, else none. A group counts only
// whole: every case valid, and all from one go, since pairing needs that.
std::vector<CaseRecord> finished_records(const Group& group, const Demand& demand,
                                         const std::filesystem::path& folder) {
  std::vector<CaseRecord> records;
  std::set<std::string> goes;
  for (const Case& subject : group.cases) {
    CaseReading reading = read_case_row(case_path(folder, subject.hash));
    if (!reading.ok() || !why_not_valid(reading.record.row, demand).empty()) return {};
    goes.insert(reading.record.row.value("group_run", ""));
    records.push_back(std::move(reading.record));
  }
  // The parts of a group that was split share their fp32 cases, which belong to the last part.
  if (group.parts <= 1 && goes.size() != 1) return {};
  return records;
}

// Adds the cases that have a result to `with_result`, and the others and the failures to theirs.
void count(const std::vector<CaseRecord>& records, const Group& group, std::size_t& with_result,
           RunSummary& summary) {
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Case& subject = group.cases[i];
    const bool unprepared = is_unprepared(records[i]);
    ++(unprepared ? summary.unprepared : with_result);
    const std::string status = records[i].row.at("check_status");
    if (status == "fail" || status == "untrusted") {
      ++(subject.variant->baseline ? summary.baselines_failed : summary.failed);
    } else if (!unprepared) {
      continue;
    }
    summary.failures.push_back(fmt::format(
        "{} {}: {}\n  case {} {}", full_name(*subject.variant), status,
        records[i].row.at("check_message").get<std::string>(), subject.hash, subject.text()));
  }
}

}  // namespace

Ceilings measure_ceilings_isolated(bool quick) {
  const ChildResult result =
      run_isolated([quick] { return measure_ceilings(quick).to_json().dump(); }, 120);
  if (result.end != ChildEnd::kReturned) {
    throw MachineError(fmt::format("measuring the ceilings: {}", result.message));
  }
  return Ceilings::from_json(nlohmann::json::parse(result.value));
}

RunSummary run_plan(const Plan& plan, const MeasureSettings& measure, const RunOptions& options) {
  RunSummary summary;
  summary.planned = plan.cases();
  prepare_case_folder(options.folder);
  const Demand demand{.machine = this_machine().id,
                      .build = build_id(),
                      .processes = measure.processes,
                      .precision = measure.precision,
                      .budget_s = measure.budget_s,
                      .energy = options.energy};
  std::vector<const Group*> groups;
  for (const Group& group : plan.groups) {
    const std::vector<CaseRecord> found = finished_records(group, demand, options.folder);
    count(found, group, summary.already, summary);
    if (found.empty()) groups.push_back(&group);
  }
  if (groups.empty()) return summary;
  std::shuffle(groups.begin(), groups.end(), std::mt19937_64(measure.seed));
  if (options.progress) options.progress("measuring this machine's ceilings", false);
  const Ceilings ceilings = measure_ceilings_isolated(measure.budget_s < 1);
  for (const int threads : ceilings.crowded()) {
    if (options.progress) options.progress(crowding_note(threads), true);
  }
  RunOptions with_ceilings = options;
  with_ceilings.provenance["ceilings"] = ceilings.to_json().dump();
  std::set<std::string> battery_passed;
  Progress progress(groups, options);
  for (const Group* group : groups) {
    progress.starts(*group);
    const std::vector<CaseRecord> records =
        measure_isolated(*group, measure, with_ceilings, ceilings, battery_passed);
    write_case_files(options.folder, records);
    for (std::size_t i = 0; i < records.size(); ++i) {
      if (records[i].row.at("check_status") == "pass") {
        battery_passed.insert(battery_key(group->cases[i]));
      }
    }
    const std::size_t failed_before = summary.failed;
    count(records, *group, summary.measured, summary);
    progress.ends(*group, summary.failed - failed_before);
  }
  return summary;
}

}  // namespace pareto
