#include "harness/group_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "harness/case_record.h"
#include "harness/contents.h"
#include "harness/device.h"
#include "harness/device_ceilings.h"
#include "harness/energy.h"
#include "harness/errors.h"
#include "harness/machine.h"
#include "harness/measured_call.h"
#include "harness/registry.h"
#include "harness/thread_watch.h"

namespace pareto {
namespace {

using nlohmann::json;

// Different inputs that the timed calls of one case see in turn.
constexpr int kContents = 3;
// A rate above the ceiling by more than this is measured again and then called suspect.
constexpr double kSuspectFraction = 1.05;
constexpr double kProbeAgainS = 0.5;
// LLVM's OpenMP, which spins longest of all known ones, does so for 200 ms.
constexpr double kLongestSpinS = 0.25;

#ifdef __SANITIZE_THREAD__
constexpr bool kSanitizedThreads = true;  // the detector has a thread of its own
#else
constexpr bool kSanitizedThreads = false;
#endif

// Everything of one case while its group is measured.
struct Member {
  const Case* subject = nullptr;
  Variant declared;  ///< as registered when the session began
  int index = 0;
  Contents* contents = nullptr;
  CaseRecord record;
  std::unique_ptr<MeasuredCall> call;
  bool timed = false;
};

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
      Member member;
      member.subject = &subject;
      member.declared = *subject.variant;
      member.index = static_cast<int>(members_.size());
      member.record = blank_record(subject, options.measure, options.group_run);
      members_.push_back(std::move(member));
    }
  }

  std::vector<CaseRecord> run() {
    for (Member& member : members_) guarded(member, [&] { make_ready(member); });
    sample();
    std::vector<CaseRecord> records;
    for (Member& member : members_) {
      guarded(member, [&] { conclude(member); });
      records.push_back(std::move(member.record));
    }
    return records;
  }

 private:
  // A problem that a variant turns out not to take is a property of the case, not of the group.
  template <typename Step>
  void guarded(Member& member, Step step) {
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
  void restore_registrations(Member& after) {
    for (const Member& member : members_) {
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

  static void drop(Member& member, CheckStatus status, const std::string& message) {
    set_status(member.record, status, message);
    member.timed = false;
    member.call.reset();
  }

  void tell(const Member& member, const std::string& step) const {
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

  void make_ready(Member& member) {
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
  bool check(Member& member) {
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
    set_status(member.record, report.status, report.message);
    member.record.row["bound_max"] = number_or_null(report.bound_max);
    member.record.row["bound_median"] = number_or_null(report.bound_median);
    member.record.row["rms_ratio"] = number_or_null(report.rms_ratio);
    member.record.row["n_compared"] = report.n_compared;
    return report.status == CheckStatus::kPass || report.status == CheckStatus::kUntrusted ||
           member.declared.baseline;
  }

  // Records a failure of the timed calls; true if the case goes on being timed.
  static bool accept(Member& member, const std::string& failure) {
    if (failure.empty()) return true;
    set_status(member.record, CheckStatus::kFail,
               failure + "; repeat with: " + member.subject->command());
    return member.declared.baseline;
  }

  void sample() {
    std::vector<std::unique_ptr<NamedSubject>> named;
    std::vector<Subject*> subjects;
    std::vector<Member*> timed;
    for (Member& member : members_) {
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
    options.seed = options_.measure.seed + static_cast<std::uint64_t>(options_.process);
    options.core_clock_hz = core_clock_hz;
    std::vector<Series> series = sample_group(subjects, options);
    for (std::size_t i = 0; i < timed.size(); ++i) record_series(*timed[i], series[i]);
  }

  // Teams of several runtimes share the processors; each spins for a while after its last call.
  [[nodiscard]] bool teams_meet() const {
    return pool_.size() > 1 && std::any_of(members_.begin(), members_.end(), [](const Member& m) {
             return m.timed && m.declared.own_threads;
           });
  }

  void record_series(Member& member, const Series& series) {
    json& row = member.record.row;
    row["time_median_s"] = number_or_null(series.median);
    row["time_lo_s"] = number_or_null(series.lo);
    row["time_hi_s"] = number_or_null(series.hi);
    row["samples"] = series.seconds_per_call.size();
    row["calls_per_sample"] = series.batch;
    row["visits_s"] = number_or_null(series.visits_s);
    row["stop_reason"] = series.stop_reason;
    row["unstable"] = series.unstable;
    const CallTimer& timer = member.call->timer();
    const bool own_clock = std::isfinite(timer.clock_hz());
    row["core_clock_hz"] = number_or_null(own_clock ? timer.clock_hz() : series.core_clock_hz);
    row["throttled"] = timer.throttled();
    SampleSet& samples = member.record.samples;
    samples.seconds = series.seconds_per_call;
    samples.block = series.block;
    samples.round = series.round;
    samples.start_s = series.start_s;
    samples.process.assign(samples.seconds.size(), options_.process);
  }

  void conclude(Member& member) {
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
    record_work(member);
    member.call.reset();
  }

  static void forget_times(Member& member) {
    for (const char* column : {"time_median_s", "time_lo_s", "time_hi_s"}) {
      member.record.row[column] = nullptr;
    }
    member.record.row["samples"] = 0;
    member.record.samples = {};
    member.timed = false;
  }

  void record_work(Member& member) {
    json& row = member.record.row;
    const Work work = member.contents->work();
    const std::size_t packed = member.call->packed_bytes();
    row["flops"] = work.flops;
    row["bytes"] = work.bytes;
    row["packed_bytes"] = packed;
    row["allocated_bytes"] = member.call->allocated_bytes();
    row["compression_ratio"] = number_or_null(
        work.compressed_bytes > 0 ? work.dense16_bytes / work.compressed_bytes : NAN);
    row["prepare_s"] = number_or_null(member.call->prepare_s());
    row["operand_hash"] = member.contents->operand_hash();
    const Agreement& agreement = member.call->agreement();
    put_metrics(row, "total", agreement.total);
    put_metrics(row, "kernel", agreement.kernel);
    put_metrics(row, "compression", agreement.compression);
    if (member.timed) record_rates(member, work);
    if (options_.energy && member.timed) {
      record_energy(member);
    } else {
      row["energy_reason"] = "not asked for (--energy)";
    }
  }

  void record_rates(Member& member, const Work& work) {
    json& row = member.record.row;
    if (!row["time_median_s"].is_number()) return;
    const double median = row["time_median_s"];
    row["flops_per_s"] = work.flops / median;
    row["bytes_per_s"] = work.bytes / median;
    const double ceiling_s = attainable(member, work, ceilings_);
    double fraction = ceiling_s / median;
    if (fraction > kSuspectFraction) {
      // The ceiling may have been measured in a slow moment: once more, beside the result.
      const Ceilings again = ceilings_of(member);
      fraction = std::min(fraction, attainable(member, work, again) / median);
    }
    row["ceiling_s"] = number_or_null(ceiling_s);
    row["ceiling_fraction"] = number_or_null(fraction);
    row["suspect"] = fraction > kSuspectFraction;
  }

  // This case's compute unit and all read bandwidths, measured now.
  static Ceilings ceilings_of(const Member& member) {
    std::vector<std::string> names = {member.subject->variant->unit};
    const std::string read = is_device_ceiling(names[0]) ? "cuda_read_" : "read_";
    for (const std::string& name : measurable_ceilings()) {
      if (name.starts_with(read)) names.push_back(name);
    }
    const std::vector<int> threads = {member.subject->threads};
    return measure_ceilings(names, threads, kProbeAgainS);
  }

  double attainable(const Member& member, const Work& work, const Ceilings& ceilings) const {
    const bool warm = member.subject->cache == "warm";
    return ceilings.attainable_s({.unit = member.subject->variant->unit,
                                  .threads = member.subject->threads,
                                  .flops = work.flops,
                                  .bytes = work.bytes,
                                  .warm = warm});
  }

  void record_energy(Member& member) {
    MeasuredCall& call = *member.call;
    const std::int64_t batch = member.record.row["calls_per_sample"];
    call.begin_visit();
    const bool on_device = member.subject->variant->needs_cuda > 0;
    const OpenedCounter counter = on_device ? open_nvml(device_info().uuid) : open_rapl();
    const EnergyReading reading = measure_energy(
        counter, [&] { call.sample(batch); }, batch);
    call.end_visit();
    member.record.row["energy_j"] = number_or_null(reading.joules_per_call);
    member.record.row["energy_idle_w"] = number_or_null(reading.idle_watts);
    member.record.row["energy_reason"] = reading.reason;
  }

  const SessionOptions& options_;
  const Ceilings& ceilings_;
  ThreadPool pool_;
  std::map<std::string, std::unique_ptr<Contents>> contents_;
  std::vector<Member> members_;
};

}  // namespace

std::string battery_key(const Case& subject) {
  std::string key = full_name(*subject.variant);
  for (const Key& option : subject.problem.op().keys()) {
    if (option.kind == KeyKind::kSize) continue;
    key += " " + option.name + "=" + text_of(option, subject.problem.value(option.name));
  }
  return key;
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
