// Probes for results that are remembered between calls, untimed in that their times are not kept.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "harness/measured_call.h"
#include "harness/stopping.h"

namespace pareto {
namespace {

// Contents that change from call to call against contents that repeat, both in quick succession and
// by the dozen: less than this is what moving a changed cache line between cores may cost.
constexpr int kFewestChangingCalls = 3;
constexpr int kMoreLooks = 8;
constexpr double kSuspiciousChange = 1.25;
constexpr double kChangeNoiseS = 0.5e-6;
// Calls on contents never seen before against calls that repeat them. Honest kernels differ by
// cache effects only; a remembered result saves the whole computation.
constexpr int kProbePairs = 7;
constexpr double kSuspiciousRatio = 2;
constexpr double kProbeNoiseS = 3e-6;

// Flips signs of many elements in place: other values of the same size and kind.
void flip_signs(const Tensor& tensor, std::mt19937_64& random) {
  if (!has_signs(tensor)) return;
  for (std::int64_t flips = 1 + tensor.elements() / 16; flips > 0; --flips) {
    flip_sign(tensor,
              static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(tensor.elements())));
  }
}

}  // namespace

// A content never seen before; for the last call that of the twin, whose result is known. One flip
// is undone and one made each time, so that calls follow each other as closely as when they repeat.
void MeasuredCall::change(Set& set, bool last) {
  const FlipPlace& twin = contents_.twin_place();
  const Tensor& operand = set.buffers->in()[static_cast<std::size_t>(twin.slot)];
  const auto elements = static_cast<std::uint64_t>(operand.elements());
  const auto element = last ? twin.element : static_cast<std::int64_t>(unforeseen_() % elements);
  undo_changes(&set);
  flip_sign(operand, element);
  changes_.push_back({&set, element});
}

/// Of one set, or of all.
void MeasuredCall::undo_changes(const Set* only) {
  const auto slot = static_cast<std::size_t>(contents_.twin_place().slot);
  std::erase_if(changes_, [&](const Change& change) {
    if (only != nullptr && change.set != only) return false;
    flip_sign(change.set->buffers->in()[slot], change.element);
    return true;
  });
}

// Calls that follow each other as those of a sample do, but each on other contents: who leaves an
// earlier result, or remembers one, is wrong here, or slower.
void MeasuredCall::look_in_quick_succession() {
  std::int64_t calls = std::max<std::int64_t>(last_batch_, kFewestChangingCalls);
  const auto last_set = [&] {
    return (next_set_ + static_cast<std::size_t>(calls) - 1) % sets_.size();
  };
  for (std::size_t i = 0; i < sets_.size() && contents_.twin_of(sets_[last_set()].content) < 0; ++i)
    ++calls;
  const int twin = contents_.twin_of(sets_[last_set()].content);
  if (twin < 0) return;
  calls_of_look_ = calls;
  const double seconds = timed_calls(calls, true);
  looking_s_ += seconds;
  changing_s_.push_back(seconds / static_cast<double>(calls));
  const std::string wrong = audit_.compare_outputs(*last_->buffers, twin);
  if (!wrong.empty()) {
    fail("cached: result cached between calls, seen where contents change in quick succession: " +
         wrong);
  }
  undo_changes(nullptr);
}

/// The shortest of the ones against the median of the others: above 1 only if all were longer.
double MeasuredCall::cost_ratio_of_changing_contents() const {
  return *std::min_element(changing_s_.begin(), changing_s_.end()) /
         (median_of(repeating_s_) + kChangeNoiseS);
}

void MeasuredCall::look_for_remembered_results() {
  // Signs are flipped in place, which the host cannot do on a device.
  if (contents_.twin_place().slot < 0 || on_device()) return;
  // The sample that follows the changes is on another content again: the others outnumber it.
  const auto look = [&] {
    begin_visit();
    auditing_ = false;
    changing_at_ = kSamplesOfVisit - 1;
    for (int i = 0; i < kSamplesOfVisit; ++i) {
      before_sample();
      sample(last_batch_);
    }
    end_visit();
  };
  for (int visits = 0; changing_s_.size() < kLooks && visits < kMoreLooks; ++visits) look();
  if (changing_s_.empty() || cost_ratio_of_changing_contents() < kSuspiciousChange) return;
  // Once more, by turns and as many calls each: a machine that was slow for a while must not accuse
  // anybody, nor one that interrupts every few calls, which the median of single calls hides.
  last_batch_ = calls_of_look_;
  repeating_s_.clear();
  changing_s_.clear();
  for (int visits = 0; visits < kMoreLooks; ++visits) look();
  const double ratio = changing_s_.empty() ? 0 : cost_ratio_of_changing_contents();
  if (ratio < kSuspiciousChange) return;
  fail(
      fmt::format("cached: result cached between calls: calls on contents that change take {:.2f} "
                  "times as long as calls that repeat them",
                  ratio));
}

double MeasuredCall::cost_ratio_of_new_contents(int pairs) {
  // New ones in every probe: what an earlier probe has shown may be remembered, too.
  std::mt19937_64 random(case_.source.seed + static_cast<std::uint64_t>(probes_++));
  Set& set = sets_[0];
  Operands changed = contents_.operands(0);
  // The shortest of each: whatever else runs on the machine can only add time.
  double fresh_s = std::numeric_limits<double>::infinity();
  double repeated_s = fresh_s;
  for (int pair = 0; pair < pairs; ++pair) {
    for (std::size_t slot = 0; slot < changed.size(); ++slot) {
      if (!case_.problem.op().persistent(case_.problem, static_cast<int>(slot))) {
        flip_signs(changed[slot].view(), random);
      }
    }
    for (double* best : {&fresh_s, &repeated_s}) {
      // Loaded before the repetition, too: caches and a library's sleeping threads are alike then.
      set.buffers->load_transient(changed);
      pool_.run([](int, int) {});  // members may have gone to sleep meanwhile
      next_set_ = 0;
      *best = std::min(*best, timed_calls(1, false));
    }
  }
  set.buffers->load_transient(contents_.operands(0));
  return fresh_s / (repeated_s + kProbeNoiseS);
}

void MeasuredCall::look_for_results_by_content() {
  // A second, longer look keeps one interruption from accusing anybody.
  if (cost_ratio_of_new_contents(kProbePairs) > kSuspiciousRatio) {
    const double ratio = cost_ratio_of_new_contents(3 * kProbePairs);
    if (ratio > kSuspiciousRatio) {
      fail(
          fmt::format("cached: result cached between calls: a call on new contents takes {:.1f} "
                      "times as long as its repetition",
                      ratio));
    }
  }
}

}  // namespace pareto
