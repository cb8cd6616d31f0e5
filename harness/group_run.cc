#include "harness/group_run.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>

#include "harness/case_record.h"
#include "harness/confinement.h"
#include "harness/crash.h"
#include "harness/device.h"
#include "harness/errors.h"
#include "harness/group_session.h"
#include "harness/hash.h"
#include "harness/joined_processes.h"

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
        if (is_refused(entry->second) || is_unprepared(entry->second)) done_.insert(hash);
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
    std::erase_if(left.cases, [&](const Case& c) {
      return crashed_.contains(c.hash) || done_.contains(c.hash);
    });
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
  std::set<std::string> done_;  ///< cases that further processes leave alone: they have no times
};

}  // namespace

std::vector<CaseRecord> measure_isolated(const Group& group, const MeasureSettings& measure,
                                         const RunOptions& options, const Ceilings& ceilings,
                                         const std::set<std::string>& battery_passed) {
  // Asked here, since a group's process may start none: it wants to know when it probes a ceiling
  // again.
  static_cast<void>(device_info());
  std::vector<CaseRecord> records =
      GroupRun(group, measure, options, ceilings, battery_passed).run();
  for (CaseRecord& record : records) record.provenance = options.provenance;
  return records;
}

}  // namespace pareto
