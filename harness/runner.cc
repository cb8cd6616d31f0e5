#include "harness/runner.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <set>

#include "harness/case_record.h"
#include "harness/clock.h"
#include "harness/confinement.h"
#include "harness/crash.h"
#include "harness/device.h"
#include "harness/errors.h"
#include "harness/hash.h"
#include "harness/machine.h"
#include "harness/provenance.h"
#include "harness/registry.h"
#include "harness/stopping.h"

namespace pareto {
namespace {

// A group may take this many times its estimate before it counts as hung.
constexpr double kPatience = 20;
constexpr double kLeastPatienceS = 300;

// What the child is doing, in memory that outlives it.
class StatusBoard {
 public:
  StatusBoard()
      : board_(static_cast<Board*>(mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE,
                                        MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
    if (board_ == MAP_FAILED) throw MachineError("out of memory for the status of a run");
    clear();
  }
  ~StatusBoard() { munmap(board_, sizeof(Board)); }
  StatusBoard(const StatusBoard&) = delete;
  StatusBoard& operator=(const StatusBoard&) = delete;

  void clear() { write(-1, "start"); }
  void write(int case_index, const std::string& step) {
    board_->case_index = case_index;
    std::strncpy(board_->step, step.c_str(), sizeof(board_->step) - 1);
  }
  [[nodiscard]] int case_index() const { return board_->case_index; }
  [[nodiscard]] std::string step() const { return board_->step; }

 private:
  struct Board {
    int case_index;
    char step[124];
  };
  Board* board_;
};

std::string new_group_run(const Group& group) {
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  return hex(hash_text(fmt::format("{} {} {}", group.hash, getpid(), now)));
}

// Samples of one more process join those of the first; the row keeps the first's checks.
void join_process(CaseRecord& record, const CaseRecord& more) {
  SampleSet& into = record.samples;
  const SampleSet& from = more.samples;
  into.seconds.insert(into.seconds.end(), from.seconds.begin(), from.seconds.end());
  into.block.insert(into.block.end(), from.block.begin(), from.block.end());
  into.round.insert(into.round.end(), from.round.begin(), from.round.end());
  into.process.insert(into.process.end(), from.process.begin(), from.process.end());
  into.start_s.insert(into.start_s.end(), from.start_s.begin(), from.start_s.end());
  if (more.row.value("unstable", false)) record.row["unstable"] = true;
}

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

nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

// Median and interval over several processes.
void summarize_processes(CaseRecord& record, int processes) {
  if (record.samples.size() == 0) return;
  const std::vector<double> pooled = block_medians_of(record.samples, -1);
  std::vector<double> medians;
  for (int process = 0; process < processes; ++process) {
    const std::vector<double> blocks = block_medians_of(record.samples, process);
    if (!blocks.empty()) medians.push_back(median_of(blocks));
  }
  const Interval interval =
      medians.size() >= 5 ? process_interval(medians) : median_interval(pooled);
  record.row["time_median_s"] = number(median_of(medians));
  record.row["time_lo_s"] = number(interval.lo);
  record.row["time_hi_s"] = number(interval.hi);
  record.row["samples"] = record.samples.size();
}

// The group without the case that crashed; its failed record goes to `crashed`.
Group without(const Group& group, std::size_t index) {
  Group rest = group;
  rest.cases.erase(rest.cases.begin() + static_cast<std::ptrdiff_t>(index));
  return rest;
}

class GroupRun {
 public:
  GroupRun(const Group& group, const MeasureSettings& measure, const RunOptions& options,
           const Ceilings& ceilings, const std::set<std::string>& battery_passed)
      : group_(group), options_(options), ceilings_(ceilings) {
    session_.measure = measure;
    session_.energy = options.energy;
    session_.group_run = new_group_run(group);
    session_.battery_passed = battery_passed;
    session_.at = [this](int index, const std::string& step) {
      if (!can_report()) {
        board_.write(board_.case_index(), board_.step() + " (it closed files of this process)");
        end_as_fault("");
      }
      board_.write(index, step);
    };
  }

  std::vector<CaseRecord> run() {
    std::map<std::string, CaseRecord> by_hash;
    for (session_.process = 0; session_.process < session_.measure.processes; ++session_.process) {
      session_.check = options_.check && session_.process == 0;
      for (CaseRecord& record : one_process()) {
        const std::string hash = record.row.at("case");
        const auto [entry, added] = by_hash.try_emplace(hash, record);
        if (!added) join_process(entry->second, record);
      }
    }
    std::vector<CaseRecord> records;
    for (const Case& subject : group_.cases) {
      CaseRecord record =
          crashed_.contains(subject.hash) ? crashed_.at(subject.hash) : by_hash.at(subject.hash);
      if (session_.measure.processes > 1) {
        summarize_processes(record, session_.measure.processes);
      }
      records.push_back(std::move(record));
    }
    return records;
  }

 private:
  // Measures what is left of the group; each crash takes one case out and starts again.
  std::vector<CaseRecord> one_process() {
    Group left = group_;
    std::erase_if(left.cases, [&](const Case& c) { return crashed_.contains(c.hash); });
    while (!left.cases.empty()) {
      board_.clear();
      const double limit_s = std::max(kLeastPatienceS, kPatience * left.estimated_s);
      const ChildResult result =
          run_isolated([&] { return to_text(confined_measure(left)); }, limit_s);
      if (result.end == ChildEnd::kReturned) return records_from_text(result.value);
      if (result.end == ChildEnd::kError) throw Error(result.code, result.message);
      const int index = blamed(left);
      const Case& guilty = left.cases[static_cast<std::size_t>(index)];
      const std::string message =
          fmt::format("{} during {}: {}", result.end == ChildEnd::kTimeout ? "hung" : "crashed",
                      board_.step(), result.message);
      crashed_.emplace(guilty.hash,
                       crashed_record(guilty, message, session_.measure, session_.group_run));
      left = without(left, static_cast<std::size_t>(index));
    }
    return {};
  }

  std::vector<CaseRecord> confined_measure(const Group& left) const {
    // CUDA's driver may have to start a program that makes its device files.
    const bool device = std::any_of(left.cases.begin(), left.cases.end(),
                                    [](const Case& c) { return c.variant->needs_cuda != 0; });
    if (!device) confine_process();
    return measure_group(left, session_, ceilings_);
  }

  // Which case the child was busy with; while all are timed in turn, whoever was called last.
  int blamed(const Group& left) const {
    const int index = board_.case_index();
    const bool known = index >= 0 && index < static_cast<int>(left.cases.size());
    return known ? index : 0;
  }

  const Group& group_;
  const RunOptions& options_;
  const Ceilings& ceilings_;
  SessionOptions session_;
  StatusBoard board_;
  std::map<std::string, CaseRecord> crashed_;
};

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

// A group counts only whole: every case valid, and all from one go, since pairing needs that.
bool is_finished(const Group& group, const Demand& demand, const std::filesystem::path& folder) {
  std::set<std::string> goes;
  for (const Case& subject : group.cases) {
    const CaseReading reading = read_case_row(case_path(folder, subject.hash));
    if (!reading.ok() || !why_not_valid(reading.record.row, demand).empty()) return false;
    goes.insert(reading.record.row.value("group_run", ""));
  }
  // The parts of a group that was split share their fp32 cases, which belong to the last part.
  return group.parts > 1 || goes.size() == 1;
}

void count_failures(const std::vector<CaseRecord>& records, const Group& group, RunSummary& summary,
                    std::size_t& failed_here, std::set<std::string>& battery_passed) {
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Case& subject = group.cases[i];
    const std::string status = records[i].row.at("check_status");
    if (status == "pass") battery_passed.insert(battery_key(subject));
    if (status != "fail" && status != "untrusted") continue;
    if (subject.variant->baseline) {
      ++summary.baselines_failed;
    } else {
      ++summary.failed;
      ++failed_here;
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

std::vector<CaseRecord> measure_isolated(const Group& group, const MeasureSettings& measure,
                                         const RunOptions& options, const Ceilings& ceilings,
                                         std::set<std::string>& battery_passed) {
  // Asked here, since a group's process may start none: it wants to know when it probes a ceiling
  // again.
  static_cast<void>(device_info());
  std::vector<CaseRecord> records =
      GroupRun(group, measure, options, ceilings, battery_passed).run();
  for (CaseRecord& record : records) record.provenance = options.provenance;
  return records;
}

RunSummary run_plan(const Plan& plan, const MeasureSettings& measure, const RunOptions& options) {
  RunSummary summary;
  summary.planned = plan.cases();
  prepare_case_folder(options.folder);
  const Demand demand{.machine = this_machine().id,
                      .build = build_id(),
                      .processes = measure.processes,
                      .precision = measure.precision,
                      .budget_s = measure.budget_s};
  std::vector<const Group*> groups;
  for (const Group& group : plan.groups) {
    if (is_finished(group, demand, options.folder)) {
      summary.already += group.cases.size();
    } else {
      groups.push_back(&group);
    }
  }
  if (groups.empty()) return summary;
  std::shuffle(groups.begin(), groups.end(), std::mt19937_64(measure.seed));
  if (options.progress) options.progress("measuring this machine's ceilings", false);
  const Ceilings ceilings = measure_ceilings_isolated(measure.budget_s < 1);
  RunOptions with_ceilings = options;
  with_ceilings.provenance["ceilings"] = ceilings.to_json().dump();
  std::set<std::string> battery_passed;
  Progress progress(groups, options);
  for (const Group* group : groups) {
    progress.starts(*group);
    const std::vector<CaseRecord> records =
        measure_isolated(*group, measure, with_ceilings, ceilings, battery_passed);
    write_case_files(options.folder, records);
    std::size_t failed_here = 0;
    count_failures(records, *group, summary, failed_here, battery_passed);
    summary.measured += records.size();
    progress.ends(*group, failed_here);
  }
  return summary;
}

}  // namespace pareto
