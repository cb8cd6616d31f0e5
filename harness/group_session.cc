#include "harness/group_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "harness/case_record.h"
#include "harness/contents.h"
#include "harness/errors.h"
#include "harness/group_member.h"
#include "harness/machine.h"
#include "harness/measured_call.h"
#include "harness/registry.h"
#include "harness/thread_watch.h"
#include "harness/variant_battery.h"

namespace pareto {
namespace {

using nlohmann::json;

// Different inputs that the timed calls of one case see in turn.
constexpr int kContents = 3;
// LLVM's OpenMP, which spins longest of all known ones, does so for 200 ms.
constexpr double kLongestSpinS = 0.25;

#ifdef __SANITIZE_THREAD__
constexpr bool kSanitizedThreads = true;  // the detector has a thread of its own
#else
constexpr bool kSanitizedThreads = false;
#endif

// Tells whose call comes next, so that a crash while timing has a name.
class NamedSubject : public Subject {
 public:
  NamedSubject(MeasuredCall& call, std::function<void()> announce)
      : call_(call), announce_(std::move(announce)) {}
  void begin_visit() override {
    announce_();
    call_.begin_visit();
  }
  void before_sample() override { call_.before_sample(); }
  double sample(std::int64_t batch) override { return call_.sample(batch); }
  void end_visit() override { call_.end_visit(); }
  [[nodiscard]] double shortest_sample_s() const override { return call_.shortest_sample_s(); }

 private:
  MeasuredCall& call_;
  std::function<void()> announce_;
};

class Session {
 public:
  Session(const Group& group, const SessionOptions& options, const Ceilings& ceilings)
      : options_(options),
        ceilings_(ceilings),
        pool_(group.cases.front().threads, this_machine().pinning(group.cases.front().threads)) {
    for (const Case& subject : group.cases) {
      GroupMember member;
      member.subject = &subject;
      member.declared = *subject.variant;
      member.index = static_cast<int>(members_.size());
      member.record = blank_record(subject, options.measure, options.group_run);
      members_.push_back(std::move(member));
    }
  }

  std::vector<CaseRecord> run() {
    for (GroupMember& member : members_) guarded(member, [&] { make_ready(member); });
    sample();
    std::vector<CaseRecord> records;
    for (GroupMember& member : members_) {
      guarded(member, [&] { conclude(member); });
      records.push_back(std::move(member.record));
    }
    return records;
  }

 private:
  // A problem that a variant turns out not to take is a property of the case, not of the group.
  template <typename Step>
  void guarded(GroupMember& member, Step step) {
    try {
      step();
    } catch (const CannotRunError& error) {
      drop(member, CheckStatus::kNotChecked, error.what());
    } catch (const InputError& error) {
      drop(member, CheckStatus::kNotChecked, error.what());
    }
    restore_registrations(member);
  }

  // What a variant declares holds for as long as it is measured, and so does what others declare.
  void restore_registrations(GroupMember& after) {
    for (const GroupMember& member : members_) {
      // Opening a plug-in completes what its manifest said.
      const bool library = !member.declared.plugin.empty();
      if (library || *member.subject->variant == member.declared) continue;
      const_cast<Variant&>(*member.subject->variant) = member.declared;
      after.call.reset();
      forget_times(after);
      set_status(after.record, CheckStatus::kFail,
                 fmt::format("registration: that of {} was changed while the program ran; repeat "
                             "with: {}",
                             full_name(member.declared), after.subject->command()));
    }
  }

  static void drop(GroupMember& member, CheckStatus status, const std::string& message) {
    set_status(member.record, status, message);
    member.timed = false;
    member.call.reset();
  }

  void tell(const GroupMember& member, const std::string& step) const {
    if (options_.at) options_.at(member.index, step);
  }

  Contents& contents_of(const Case& subject) {
    std::unique_ptr<Contents>& entry = contents_[subject.problem.text()];
    if (entry == nullptr) {
      entry = std::make_unique<Contents>(subject.problem, subject.source, kContents,
                                         this_machine().cores);
    }
    return *entry;
  }

  void make_ready(GroupMember& member) {
    tell(member, "checks");
    const ThreadWatch watch;
    member.contents = &contents_of(*member.subject);
    if (options_.check && !check(member)) return;
    tell(member, "prepare");
    member.call = std::make_unique<MeasuredCall>(*member.subject, *member.contents, pool_);
    member.timed = accept(member, member.call->failure());
    // A GPU's driver starts threads of its own when it likes; its work is watched on the device.
    if (member.timed && !member.declared.own_threads && member.declared.needs_cuda == 0) {
      const std::string threads = watch.still_running();
      if (!threads.empty()) member.timed = accept(member, "threads: " + threads);
    }
  }

  // False if the case must not be timed.
  bool check(GroupMember& member) {
    const Case& subject = *member.subject;
    CheckOptions options;
    options.battery = !options_.battery_passed.contains(battery_key(subject));
    options.mutants = options.battery;
    options.seed = subject.source.seed;
    options.pool_sizes = {};
    options.repeat_line = subject.command();
    CheckInput own{
        .name = fmt::format("{} seed {}", subject.source.distribution, subject.source.seed),
        .operands = member.contents->operands(0),
        .other = {}};
    if (member.contents->count() > 1) own.other = member.contents->operands(1);
    options.own.push_back(std::move(own));
    const CheckReport report =
        check_variant(open(*subject.variant), subject.problem, pool_, options);
    std::string message = report.message;
    if (message.empty() && report.spread > 0) {
      message = fmt::format("not deterministic: repeats differ by up to {:.3g}", report.spread);
    }
    set_status(member.record, report.status, message);
    member.record.row["bound_max"] = number_or_null(report.bound_max);
    member.record.row["bound_median"] = number_or_null(report.bound_median);
    member.record.row["rms_ratio"] = number_or_null(report.rms_ratio);
    member.record.row["n_compared"] = report.n_compared;
    return report.status == CheckStatus::kPass || report.status == CheckStatus::kUntrusted ||
           member.declared.baseline;
  }

  // Records a failure of the timed calls; true if the case goes on being timed.
  static bool accept(GroupMember& member, const std::string& failure) {
    if (failure.empty()) return true;
    set_status(member.record, CheckStatus::kFail,
               failure + "; repeat with: " + member.subject->command());
    return member.declared.baseline;
  }

  void sample() {
    std::vector<std::unique_ptr<NamedSubject>> named;
    std::vector<Subject*> subjects;
    std::vector<GroupMember*> timed;
    for (GroupMember& member : members_) {
      if (!member.timed) continue;
      named.push_back(std::make_unique<NamedSubject>(*member.call, [this, &member] {
        tell(member, "timing");
        if (teams_meet()) wait_until_others_sleep(kLongestSpinS);
      }));
      subjects.push_back(named.back().get());
      timed.push_back(&member);
    }
    if (subjects.empty()) return;
    MeasureOptions options;
    options.precision = options_.measure.precision;
    options.budget_s = options_.measure.budget_s;
    options.min_blocks = options_.measure.min_blocks;
    options.max_samples = options_.measure.max_samples;
    options.seed = options_.measure.seed + static_cast<std::uint64_t>(options_.process);
    options.core_clock_hz = core_clock_hz;
    std::vector<Series> series = sample_group(subjects, options);
    for (std::size_t i = 0; i < timed.size(); ++i)
      record_series(*timed[i], series[i], options_.process);
  }

  // Teams of several runtimes share the processors; each spins for a while after its last call.
  [[nodiscard]] bool teams_meet() const {
    return pool_.size() > 1 &&
           std::any_of(members_.begin(), members_.end(),
                       [](const GroupMember& m) { return m.timed && m.declared.own_threads; });
  }

  void conclude(GroupMember& member) {
    if (member.call == nullptr) return;
    tell(member, "last checks");
    if (member.timed) {
      member.call->finish();
      if (!accept(member, member.call->failure())) forget_times(member);
    }
    if (options_.check && member.call->failure().empty()) {
      json& row = member.record.row;
      const Verdict& verdict = member.call->verdict();
      row["bound_max"] = number_or_null(verdict.bound_max);
      row["bound_median"] = number_or_null(verdict.bound_median);
      row["rms_ratio"] = number_or_null(verdict.rms_ratio);
      row["n_compared"] = verdict.n_compared;
      row["worst_index"] = verdict.worst_index;
    }
    record_work(member, ceilings_, options_.energy);
    member.call.reset();
  }

  const SessionOptions& options_;
  const Ceilings& ceilings_;
  ThreadPool pool_;
  std::map<std::string, std::unique_ptr<Contents>> contents_;
  std::vector<GroupMember> members_;
};

}  // namespace

std::string battery_key(const Case& subject) {
  return fmt::format("{} {} threads{}", full_name(*subject.variant), subject.threads,
                     battery_text(battery_of(*subject.variant, subject.problem)));
}

std::vector<CaseRecord> measure_group(const Group& group, const SessionOptions& options,
                                      const Ceilings& ceilings) {
  if (thread_ids().size() > 1 && !kSanitizedThreads) {
    throw Error(ExitCode::kCheckFailed,
                "threads: some are running before any kernel was called: somebody starts them "
                "behind the harness's back");
  }
  return Session(group, options, ceilings).run();
}

}  // namespace pareto
