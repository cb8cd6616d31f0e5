#include "harness/check_battery.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <utility>

#include "harness/call_buffers.h"
#include "harness/check_input.h"
#include "harness/device.h"
#include "harness/endurance.h"
#include "harness/errors.h"
#include "harness/mutant_trust.h"
#include "harness/registry.h"
#include "harness/variant_battery.h"

namespace pareto {
namespace {

double larger(double a, double b) { return b > a ? b : a; }  // NaN counts as nothing measured

InputCase from_battery(const BatteryInput& input, int threads) {
  const Op& op = input.problem.op();
  InputCase ready;
  ready.name = input.name;
  ready.problem = input.problem;
  ready.operands = op.encode(input.problem, op.draw(input.problem, input.draw));
  ready.expected = expect(input.problem, ready.operands, input.exact, input.draw.seed, threads);
  Draw second = input.draw;
  ++second.content;
  ready.other = with_persistent_of(input.problem, ready.operands,
                                   op.encode(input.problem, op.draw(input.problem, second)));
  if (!ready.other.empty()) {
    // Plants of one content need not stand opposite zeros of the other: bounded, not exact.
    ready.other_expected = expect(input.problem, ready.other, false, input.draw.seed, threads);
  }
  return ready;
}

InputCase from_own(const CheckInput& input, const Problem& problem, std::uint64_t seed,
                   int threads) {
  InputCase ready;
  ready.name = input.name;
  ready.problem = problem;
  ready.operands = input.operands;
  ready.other = input.other;
  ready.expected = expect(problem, ready.operands, false, seed, threads);
  if (!ready.other.empty()) {
    ready.other_expected = expect(problem, ready.other, false, seed, threads);
  }
  return ready;
}

/// Inputs of the battery at other sizes, drawn by the seed: nobody can have them by heart. Only
/// plain ones, since plants need their places.
std::vector<BatteryInput> surprises(const std::vector<BatteryInput>& battery, std::uint64_t seed) {
  constexpr int kSurprises = 2;
  constexpr int kAttempts = 16;
  std::vector<BatteryInput> found;
  std::mt19937_64 random(seed);
  for (int i = 0; i < kAttempts && static_cast<int>(found.size()) < kSurprises; ++i) {
    BatteryInput input = battery[random() % battery.size()];
    if (input.exact || input.draw.distribution != "normal") continue;
    for (const Key& key : input.problem.op().keys()) {
      if (key.kind != KeyKind::kSize) continue;
      const std::int64_t size = input.problem.size(key.name);
      const auto span = static_cast<std::uint64_t>(std::min<std::int64_t>(size, 64));
      if (size > 2) input.problem.set(key.name, size + static_cast<std::int64_t>(random() % span));
    }
    try {
      const Op& op = input.problem.op();
      op.complete(input.problem);
      (void)op.encode(input.problem, op.draw(input.problem, input.draw));
    } catch (const Error&) {
      continue;  // these sizes do not go together
    }
    input.draw.seed += seed;
    input.name = "surprise " + input.name;
    found.push_back(std::move(input));
  }
  return found;
}

void call_once(const Variant& variant, const BatteryInput& input, ThreadPool& pool) {
  const Op& op = input.problem.op();
  const Operands operands = op.encode(input.problem, op.draw(input.problem, input.draw));
  // Nothing but the tensors themselves is allocated, so that every byte beyond them is foreign.
  CallBuffers buffers(variant, input.problem, operands, Layout::kGuardBefore);
  buffers.run(*buffers.prepare(variant, input.problem, pool), pool);
}

/// The caller's team and teams of other sizes, made once per check.
class Teams {
 public:
  Teams(ThreadPool& own, const std::vector<int>& sizes) : all_{&own} {
    for (const int size : sizes) {
      const bool known =
          std::any_of(all_.begin(), all_.end(), [&](auto* pool) { return pool->size() == size; });
      if (known) continue;
      made_.push_back(std::make_unique<ThreadPool>(size));
      all_.push_back(made_.back().get());
    }
  }
  [[nodiscard]] std::span<ThreadPool* const> all() const { return all_; }
  [[nodiscard]] std::span<ThreadPool* const> own() const { return all().first(1); }

 private:
  std::vector<std::unique_ptr<ThreadPool>> made_;
  std::vector<ThreadPool*> all_;
};

/// Gathers the report of one variant; stops at the first failure.
class Checking {
 public:
  Checking(const Variant& variant, const Problem& problem, ThreadPool& pool,
           const CheckOptions& options)
      : variant_(open(variant)),
        problem_(problem),
        options_(options),
        threads_(pool.size()),
        teams_(pool, other_teams(options)) {}

  CheckReport run() {
    if (!options_.compare) {
      call_battery();
      return std::move(report_);
    }
    if (options_.battery) check_battery();
    for (const CheckInput& input : options_.own) {
      if (!failed()) check_own(input);
    }
    conclude();
    return std::move(report_);
  }

 private:
  /// One call on every input. What it computes is looked at by nobody: the status stays "not
  /// checked" unless something breaks.
  void call_battery() {
    if (variant_.needs_cuda > 0) device().record_nothing();
    for (const BatteryInput& input : battery_of(variant_, problem_)) {
      InputReport& entry = report_.inputs.emplace_back(
          InputReport{input.name, refusal(variant_, input.problem), {}});
      if (!entry.skipped.empty()) continue;
      try {
        call_once(variant_, input, *teams_.own().front());
      } catch (const CannotRunError& error) {
        entry.skipped = error.what();
      } catch (const MachineError&) {
        throw;
      } catch (const std::exception& error) {
        return fail(input.name, "exception", fmt::format("exception: {}", error.what()));
      }
    }
    report_.message =
        report_.any_input_taken() ? "called, not compared" : "takes no input of the battery";
  }

  void check_battery() {
    const std::vector<BatteryInput> battery = battery_of(variant_, problem_);
    for (const BatteryInput& input : battery) {
      if (failed()) return;
      check(input);
      if (report_.inputs.back().skipped.empty()) taken_.push_back(input);
    }
    for (const BatteryInput& input : surprises(battery, options_.seed)) {
      if (!failed()) check(input);
    }
  }

  void check_own(const CheckInput& input) {
    const bool right_before = report_.any_input_taken();
    check(
        input.name, [&] { return from_own(input, problem_, options_.seed, threads_); },
        teams_.own());
    if (failed() && right_before) {
      report_.message += "; the battery's shapes are right: answers recognised by shape?";
    }
  }

  // A device's kernels do not depend on how many threads of the host there are.
  [[nodiscard]] std::vector<int> other_teams(const CheckOptions& options) const {
    return options.battery && variant_.needs_cuda == 0 ? options.pool_sizes : std::vector<int>{};
  }

  [[nodiscard]] bool failed() const { return report_.status == CheckStatus::kFail; }

  void fail(const std::string& input, const std::string& check, const std::string& message) {
    report_.status = CheckStatus::kFail;
    report_.check = check;
    std::string repeat = options_.repeat_line;
    if (repeat.empty()) repeat = check_command(variant_, problem_);
    report_.message = fmt::format("{}: input '{}': {}; repeat with: {}", full_name(variant_), input,
                                  message, repeat);
  }

  void check(const BatteryInput& input) {
    const std::string reason = refusal(variant_, input.problem);
    if (!reason.empty()) {
      report_.inputs.push_back({.input = input.name, .skipped = reason, .verdict = {}});
      return;
    }
    check(
        input.name, [&] { return from_battery(input, threads_); }, teams_.all());
    if (!failed() && !endured_ && report_.inputs.back().skipped.empty()) endure(input);
  }

  template <typename Make>
  void check(const std::string& name, Make make, std::span<ThreadPool* const> pools) {
    InputReport& entry = report_.inputs.emplace_back(InputReport{name, "", {}});
    try {
      const InputOutcome outcome = check_input(variant_, make(), pools);
      entry.verdict = outcome.verdict;
      take_numbers(outcome);
      if (!outcome.check.empty()) fail(name, outcome.check, outcome.message);
    } catch (const CannotRunError& error) {
      entry.skipped = error.what();
    } catch (const MachineError&) {
      throw;
    } catch (const std::exception& error) {
      fail(name, "exception", fmt::format("exception: {}", error.what()));
    }
  }

  /// Many calls on the battery's first input that the variant takes.
  void endure(const BatteryInput& input) {
    endured_ = true;
    const InputCase ready = from_battery(input, threads_);
    const std::string trouble = check_endurance(variant_, ready, *teams_.own().front());
    if (!trouble.empty()) fail(input.name, trouble.substr(0, trouble.find(':')), trouble);
  }

  void take_numbers(const InputOutcome& outcome) {
    const Verdict& verdict = outcome.verdict;
    report_.bound_max = larger(report_.bound_max, verdict.bound_max);
    report_.rms_ratio = larger(report_.rms_ratio, verdict.rms_ratio);
    if (!std::isnan(verdict.bound_median)) report_.bound_median = verdict.bound_median;
    report_.n_compared += verdict.n_compared;
    report_.spread = larger(report_.spread, outcome.spread);
  }

  void conclude() {
    if (failed()) return;
    if (!report_.any_input_taken()) {
      report_.message = report_.inputs.empty()
                            ? full_name(variant_) + ": the op has no input to check it with"
                            : fmt::format("{}: takes no input of the battery: {}",
                                          full_name(variant_), report_.inputs.front().skipped);
      return;
    }
    report_.status = CheckStatus::kPass;
    if (!options_.battery || !options_.mutants) return;
    const std::string survivors =
        mutant_trust(problem_, taken_, arithmetic_of(variant_, problem_), threads_).survivors();
    if (survivors.empty()) return;
    report_.status = CheckStatus::kUntrusted;
    report_.check = "mutants";
    report_.message =
        fmt::format("{}: the battery lets wrong results pass: {}", full_name(variant_), survivors);
  }

  const Variant& variant_;
  const Problem& problem_;
  const CheckOptions& options_;
  int threads_;
  Teams teams_;
  CheckReport report_;
  std::vector<BatteryInput> taken_;  ///< only these can reject a wrong result of this variant
  bool endured_ = false;
};

}  // namespace

bool CheckReport::any_input_taken() const {
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const InputReport& input) { return input.skipped.empty(); });
}

CheckReport check_variant(const Variant& variant, const Problem& problem, ThreadPool& pool,
                          const CheckOptions& options) {
  return Checking(variant, problem, pool, options).run();
}

CheckInput own_input(const Problem& problem, const Draw& draw) {
  const Op& op = problem.op();
  CheckInput input;
  input.name = fmt::format("{} seed {}", draw.distribution, draw.seed);
  input.operands = op.encode(problem, op.draw(problem, draw));
  Draw second = draw;
  ++second.content;
  input.other =
      with_persistent_of(problem, input.operands, op.encode(problem, op.draw(problem, second)));
  return input;
}

Operands with_persistent_of(const Problem& problem, const Operands& first, const Operands& second) {
  Operands mixed;
  bool differs = false;
  for (std::size_t slot = 0; slot < first.size(); ++slot) {
    const HostTensor& a = first[slot];
    const HostTensor& b = second[slot];
    if (a.dtype() != b.dtype() || !(a.shape() == b.shape())) return {};
    const bool outlives = problem.op().persistent(problem, static_cast<int>(slot));
    differs = differs || (!outlives && a.present());
    mixed.push_back(outlives ? a : b);
  }
  return differs ? mixed : Operands{};
}

}  // namespace pareto
