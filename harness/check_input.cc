#include "harness/check_input.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "harness/call_buffers.h"
#include "harness/crash.h"
#include "harness/poison.h"
#include "harness/process_state.h"
#include "harness/registry.h"
#include "harness/thread_watch.h"

namespace pareto {
namespace {

// Whoever works on behind our back gets this time to be seen doing so; on a loaded machine a new
// thread may wait long for its turn.
constexpr std::chrono::milliseconds kLateWork{250};

constexpr std::string_view kLateMessage =
    "late: work deferred past the timer: outputs changed after run had returned";

std::string_view name_of(Layout layout) {
  return layout == Layout::kGuardBefore ? "buffers beginning at a guard page"
                                        : "buffers ending at a guard page";
}

bool same_bits(const Outputs& a, const Outputs& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    const Tensor& left = a[i].view();
    if (left.bytes() > 0 && std::memcmp(left.data, b[i].view().data, left.bytes()) != 0)
      return false;
  }
  return true;
}

bool unwritten(const Outputs& outputs) {
  return std::any_of(outputs.begin(), outputs.end(),
                     [](const HostTensor& output) { return count_poison(output.view()) > 0; });
}

double largest_difference(const Outputs& a, const Outputs& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::int64_t k = 0; k < a[i].elements(); ++k) {
      const double difference = std::abs(a[i].value(k) - b[i].value(k));
      if (difference > largest) largest = difference;
    }
  }
  return largest;
}

std::string prefixed(const std::string& check, const std::string& text) {
  return text.empty() ? "" : check + ": " + text;
}

/// The first thing that went wrong; later ones are not looked at.
class Findings {
 public:
  explicit Findings(InputOutcome& outcome) : outcome_(outcome) {}
  void add(const std::string& check, const std::string& message) {
    if (!outcome_.check.empty() || message.empty()) return;
    outcome_.check = check;
    outcome_.message = message;
  }
  /// "guard: …" as CallBuffers::damage says it.
  void add_named(const std::string& text) {
    if (!text.empty()) add(text.substr(0, text.find(':')), text);
  }
  [[nodiscard]] bool any() const { return !outcome_.check.empty(); }

 private:
  InputOutcome& outcome_;
};

/// One variant on one input with one team.
class InputRun {
 public:
  InputRun(const Variant& variant, const InputCase& input, ThreadPool& pool, InputOutcome& outcome)
      : variant_(variant),
        input_(input),
        pool_(pool),
        arithmetic_(arithmetic_of(variant, input.problem)),
        outcome_(outcome),
        findings_(outcome) {}

  void run() {
    for (const Layout layout : {Layout::kGuardBefore, Layout::kGuardAfter}) {
      set_fault_context(fmt::format("input '{}' ({}), {} threads, {}: ", input_.name,
                                    input_.problem.text(), pool_.size(), name_of(layout)));
      const ThreadWatch watch;
      run_layout(layout);
      if (!variant_.own_threads && variant_.needs_cuda == 0)
        findings_.add("threads", watch.still_running());
      if (findings_.any()) {
        outcome_.message += fmt::format(" [{} threads, {}]", pool_.size(), name_of(layout));
        break;
      }
    }
    set_fault_context("");
  }

 private:
  void run_layout(Layout layout) {
    CallBuffers buffers(variant_, input_.problem, input_.operands, layout);
    const std::uint32_t modes = fp_modes();
    const std::unique_ptr<Prepared> prepared = buffers.prepare(variant_, input_.problem, pool_);
    findings_.add("fp environment", restore_fp_modes(pool_, modes));
    findings_.add_named(buffers.damage());
    buffers.seal();
    buffers.poison_outputs();
    const Outputs first = call(*prepared, buffers);
    if (findings_.any()) return;
    judge_first(first);
    if (findings_.any()) return;
    if (!input_.other.empty()) run_other(*prepared, buffers, first);
    if (findings_.any()) return;
    buffers.poison_outputs();
    const Outputs again = call(*prepared, buffers);
    if (!findings_.any()) judge_repeat(first, again);
  }

  /// One call, and everything that it must leave as it was.
  Outputs call(Prepared& prepared, CallBuffers& buffers) {
    const std::uint32_t modes = fp_modes();
    const std::size_t allocated = counted_bytes();
    const ProcessState state;
    buffers.run(prepared, pool_);
    Outputs outputs = buffers.copy_outputs();
    findings_.add("fp environment", restore_fp_modes(pool_, modes));
    const bool ours = !variant_.own_threads && variant_.needs_cuda == 0;
    if (ours) findings_.add_named(prefixed("process", state.restore()));
    if (counted_bytes() != allocated) {
      findings_.add("allocation",
                    fmt::format("allocation: run took {} bytes that it did not give back",
                                static_cast<std::ptrdiff_t>(counted_bytes() - allocated)));
    }
    buffers.unseal();
    findings_.add_named(buffers.damage());
    buffers.seal();
    if (unwritten(outputs)) wait_for_late_work(buffers, outputs);
    if (!same_bits(outputs, buffers.copy_outputs())) {
      findings_.add("late", std::string(kLateMessage));
    }
    return outputs;
  }

  static void wait_for_late_work(const CallBuffers& buffers, const Outputs& left) {
    const auto deadline = std::chrono::steady_clock::now() + kLateWork;
    while (std::chrono::steady_clock::now() < deadline && same_bits(left, buffers.copy_outputs())) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  /// Within bounds (or exact), unless the same bits have been accepted before.
  void judge_first(const Outputs& got) {
    if (!accepted_.empty() && same_bits(accepted_, got)) return;
    if (!accepted_.empty() && arithmetic_.deterministic && !variant_.baseline) {
      findings_.add("repeat",
                    "repeat: the same input gives other bits at another address (an alignment that "
                    "only some operands have?)");
      return;
    }
    if (!accepted_.empty()) note_spread(accepted_, got);
    const std::vector<Tensor> views = views_of(got);
    const Verdict verdict = verify(input_.expected, bounds(), views);
    if (outcome_.verdict.n_compared == 0 || !verdict.pass) outcome_.verdict = verdict;
    if (!verdict.pass) findings_.add(verdict.check, verdict.message + resemblance(input_, views));
    accepted_ = got;
  }

  /// Another content at the same addresses. The outputs are not poisoned here but hold the first
  /// content's results: who computes only when it sees poison is found out.
  void run_other(Prepared& prepared, CallBuffers& buffers, const Outputs& first) {
    load(buffers, input_.other);
    const Outputs got = call(prepared, buffers);
    if (findings_.any()) return;
    if (other_bounds_.empty()) other_bounds_ = bounds_of(input_.other_expected, arithmetic_);
    const Verdict verdict = verify(input_.other_expected, other_bounds_, views_of(got));
    if (verdict.pass) return load(buffers, input_.operands);
    if (same_bits(got, first)) {
      wait_for_late_work(buffers, got);
      if (!same_bits(got, buffers.copy_outputs())) findings_.add("late", std::string(kLateMessage));
      findings_.add("cached",
                    "cached: result cached between calls: new contents at the same addresses gave "
                    "the previous output");
    }
    findings_.add(verdict.check,
                  "second content on the same prepared operands: " + verdict.message);
  }

  static void load(CallBuffers& buffers, const Operands& operands) {
    buffers.unseal();
    buffers.load_transient(operands);
    buffers.seal();
  }

  void judge_repeat(const Outputs& first, const Outputs& again) {
    if (same_bits(first, again)) return;
    note_spread(first, again);
    if (arithmetic_.deterministic) {
      findings_.add("repeat",
                    fmt::format("repeat: the same input gives other bits the second time (largest "
                                "difference {:.3g}) and the variant does not declare itself "
                                "non-deterministic",
                                outcome_.spread));
      return;
    }
    const Verdict verdict = verify(input_.expected, bounds(), views_of(again));
    if (!verdict.pass) findings_.add(verdict.check, "second call: " + verdict.message);
  }

  void note_spread(const Outputs& a, const Outputs& b) {
    outcome_.spread = std::max(outcome_.spread, largest_difference(a, b));
  }

  std::span<const Bounds> bounds() {
    if (bounds_.empty()) bounds_ = bounds_of(input_.expected, arithmetic_);
    return bounds_;
  }

  const Variant& variant_;
  const InputCase& input_;
  ThreadPool& pool_;
  Arithmetic arithmetic_;
  InputOutcome& outcome_;
  Findings findings_;
  std::vector<Bounds> bounds_;
  std::vector<Bounds> other_bounds_;
  Outputs accepted_;
};

}  // namespace

InputOutcome check_input(const Variant& variant, const InputCase& input,
                         std::span<ThreadPool* const> pools) {
  InputOutcome outcome;
  for (ThreadPool* pool : pools) {
    InputRun(variant, input, *pool, outcome).run();
    if (!outcome.check.empty()) break;
  }
  return outcome;
}

std::string resemblance(const InputCase& input, std::span<const Tensor> got) {
  // A mutant costs as much as a naive kernel: not worth minutes on a big problem.
  constexpr double kMostFlops = 1e8;
  // A result that is ten times closer to the mutant than to the reference has that fault.
  constexpr double kCloser = 0.1;
  const Op& op = input.problem.op();
  if (op.work(input.problem, input.operands).flops > kMostFlops) return "";
  const std::vector<double> values = values_at(input.expected, got);
  const double distance = error_metrics(values, values_of(input.expected)).rms;
  for (const Mutant& mutant : op.mutants(input.problem)) {
    if (!mutant.not_applicable.empty()) continue;
    try {
      const Outputs wrong = op.mutate(mutant.name, input.problem, input.operands);
      const double to_mutant =
          error_metrics(values, values_at(input.expected, views_of(wrong))).rms;
      if (to_mutant < kCloser * distance) return "; looks like the fault '" + mutant.name + "'";
    } catch (const Error&) {
      continue;  // this input has nothing that the mutant could break
    }
  }
  return "";
}

}  // namespace pareto
