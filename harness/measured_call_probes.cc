// Probes for results that are remembered between calls, untimed in that their times are not kept.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "harness/clock.h"
#include "harness/measured_call.h"
#include "harness/stopping.h"

namespace pareto {
namespace {

// Contents that change from call to call against contents that repeat, in quick succession and by
// the dozen, both without the time of the changes themselves. What is left of honest kernels is the
// way of changed cache lines between cores; both have it, but for samples.
constexpr int kFewestChangingCalls = 3;
constexpr int kMoreLooks = 8;
constexpr double kSuspiciousChange = 1.25;
constexpr double kChangeNoiseS = 0.5e-6;
// The same against samples, which have nothing between calls: who can tell the two apart by that
// gains less than this.
constexpr double kToldApart = 3;
constexpr double kBurstNoiseS = 3e-6;
constexpr double kGapNoiseS = 0.1e-6;
constexpr double kWrittenLineS = 10e-9;  // read at once after it was written
constexpr double kMovedLineS = 100e-9;   // from one core to another, one line after the other
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

void MeasuredCall::prepare_contents(Set& set, Between between, std::int64_t calls_left) {
  if (between == Between::kTwinOnce) {
    const FlipPlace& place = contents_.twin_place();
    const auto slot = static_cast<std::size_t>(place.slot);
    if (calls_left == twin_call_) flip_sign(twin_->buffers->in()[slot], place.element);
    return;
  }
  const double start = now_s();
  between == Between::kChange ? change(set, calls_left == 1) : change_and_restore(set);
  flipping_s_ += now_s() - start;
}

// Every row of the operand is another than in the call before: who compares rows, or parts of them,
// with those of the last call finds nothing to keep.
void MeasuredCall::change(Set& set, bool last) {
  const FlipPlace& place = contents_.twin_place();
  const Tensor& operand = set.buffers->in()[static_cast<std::size_t>(place.slot)];
  undo_changes(&set);
  if (last) {
    flip_sign(operand, place.element);
    twin_ = &set;
    return;
  }
  diagonal_ = next_diagonal(operand);
  flip_diagonal(operand, diagonal_);
  changes_.push_back({&set, diagonal_});
}

/// The lines that `change` would write, and the content that was there.
void MeasuredCall::change_and_restore(Set& set) {
  const Tensor& operand = set.buffers->in()[static_cast<std::size_t>(contents_.twin_place().slot)];
  const Diagonal before = diagonal_;
  diagonal_ = next_diagonal(operand);
  for (int times = 0; times < 2; ++times) {
    flip_diagonal(operand, before);
    flip_diagonal(operand, diagonal_);
  }
}

/// One that meets the last one in no row, by chance.
Diagonal MeasuredCall::next_diagonal(const Tensor& operand) {
  const std::int64_t length = row_length(operand);
  if (length < 2) return {};
  const auto step = 1 + unforeseen_() % static_cast<std::uint64_t>(length - 1);
  return {(diagonal_.column + static_cast<std::int64_t>(step)) % length, diagonal_.stride};
}

/// Of one set, or of all and the twin's.
void MeasuredCall::undo_changes(const Set* only) {
  const FlipPlace& place = contents_.twin_place();
  const auto slot = static_cast<std::size_t>(place.slot);
  std::erase_if(changes_, [&](const Change& change) {
    if (only != nullptr && change.set != only) return false;
    flip_diagonal(change.set->buffers->in()[slot], change.diagonal);
    return true;
  });
  if (only != nullptr || twin_ == nullptr) return;
  flip_sign(twin_->buffers->in()[slot], place.element);
  twin_ = nullptr;
}

std::size_t MeasuredCall::last_of_burst(std::int64_t calls) const {
  return (next_set_ + static_cast<std::size_t>(calls) - 1) % sets_.size();
}

/// `calls` or as many more as bring the burst to a content that has a twin; 0: there is none.
std::int64_t MeasuredCall::calls_up_to_a_twin(std::int64_t calls) const {
  for (std::size_t i = 0; i < sets_.size(); ++i, ++calls) {
    if (contents_.twin_of(sets_[last_of_burst(calls)].content) >= 0) return calls;
  }
  return 0;
}

/// Seconds per call that follow each other as those of a sample do, without what came in between.
double MeasuredCall::burst(std::int64_t calls, Between between) {
  const auto slot = static_cast<std::size_t>(contents_.twin_place().slot);
  const std::int64_t length = row_length(sets_[0].buffers->in()[slot]);
  diagonal_.stride = static_cast<std::int64_t>(unforeseen_() % static_cast<std::uint64_t>(length));
  flipping_s_ = 0;
  const double seconds = timed_calls(calls, between);
  looking_s_ += seconds;
  return (seconds - flipping_s_) / static_cast<double>(calls);
}

void MeasuredCall::must_be_twin(const char* seen) {
  const Outputs outputs = last_->buffers->copy_outputs();
  const int twin = contents_.twin_of(last_->content);
  undo_changes(nullptr);
  verify_on(*last_, last_->content);
  verify_on(*last_, twin);
  const std::string wrong = audit_.compare_outputs(views_of(outputs), number(*last_, twin));
  if (!wrong.empty()) {
    fail(fmt::format("cached: result cached between calls, seen {}: {}", seen, wrong));
  }
}

// Who leaves an earlier result, or remembers one, is wrong here, or slower.
void MeasuredCall::look_at_changing_contents() {
  const std::int64_t calls =
      calls_up_to_a_twin(std::max<std::int64_t>(last_batch_, kFewestChangingCalls));
  if (calls == 0) return;
  calls_of_look_ = calls;
  changing_s_.push_back(burst(calls, Between::kChange));
  must_be_twin("where contents change in quick succession");
}

void MeasuredCall::look_at_restored_contents() {
  restored_s_.push_back(burst(calls_of_look_, Between::kNetNothing));
}

// Changes take a moment by which a burst can be told from a sample, and the length of samples can
// be learned. Here one flip, of some cycles, is all that differs, and any call may be the last.
void MeasuredCall::look_at_a_burst_of_unforeseen_length() {
  if (last_batch_ < 2) return;
  const auto up_to = [this](std::int64_t most) {
    return 1 + static_cast<std::int64_t>(unforeseen_() % static_cast<std::uint64_t>(most));
  };
  const std::int64_t calls = calls_up_to_a_twin(up_to(last_batch_));
  if (calls == 0) return;
  twin_ = &sets_[last_of_burst(calls)];
  twin_call_ = up_to(calls);
  burst(calls, Between::kTwinOnce);
  ++unforeseen_bursts_;
  must_be_twin("where one element changes within a burst of unforeseen length");
}

/// The shortest of the ones against the median of the others: above 1 only if all were longer.
double MeasuredCall::changes_against(const std::vector<double>& others_s) const {
  return *std::min_element(changing_s_.begin(), changing_s_.end()) /
         (median_of(others_s) + kChangeNoiseS);
}

/// The same against samples, before whose calls no line was written: two of each row.
double MeasuredCall::told_apart() const {
  const Tensor& operand =
      sets_[0].buffers->in()[static_cast<std::size_t>(contents_.twin_place().slot)];
  const std::int64_t lines = 2 * operand.elements() / row_length(operand);
  const double line_s = pool_.size() > 1 ? kMovedLineS : kWrittenLineS;
  const double noise_s = kGapNoiseS + kBurstNoiseS / static_cast<double>(calls_of_look_) +
                         line_s * static_cast<double>(lines);
  return (*std::min_element(changing_s_.begin(), changing_s_.end()) - noise_s) /
         median_of(repeating_s_);
}

void MeasuredCall::look_for_remembered_results() {
  // Signs are flipped in place, which the host cannot do on a device.
  if (contents_.twin_place().slot < 0 || on_device()) return;
  const auto enough = [this] {
    return changing_s_.size() >= kLooks && (last_batch_ < 2 || unforeseen_bursts_ >= kMoreLooks);
  };
  for (int visits = 0; !enough() && visits < 2 * kMoreLooks; ++visits) look(false);
  // Against samples this is only a suspicion: changes move lines between cores.
  if (changing_s_.empty() || changes_against(repeating_s_) < kSuspiciousChange) return;
  look_by_turns();
}

/// A visit of which the contents change before the last sample: the others, on contents that repeat
/// again, outnumber the one that follows.
void MeasuredCall::look(bool restoring) {
  begin_visit();
  auditing_ = false;
  changing_at_ = kSamplesOfVisit - 1;
  if (restoring) restoring_at_ = changing_at_ - 1;
  for (int i = 0; i < kSamplesOfVisit; ++i) {
    before_sample();
    sample(last_batch_);
  }
  end_visit();
}

// By turns and as many calls each: a machine that was slow for a while must not accuse anybody, nor
// one that interrupts every few calls, which the median of single calls hides.
void MeasuredCall::look_by_turns() {
  last_batch_ = calls_of_look_;
  for (std::vector<double>* series : {&repeating_s_, &changing_s_, &restored_s_}) series->clear();
  for (int visits = 0; visits < kMoreLooks; ++visits) look(true);
  if (changing_s_.empty()) return;
  const double ratio = changes_against(restored_s_);
  if (ratio >= kSuspiciousChange) {
    fail(fmt::format(
        "cached: result cached between calls: calls on contents that change take {:.2f} times as "
        "long as calls that repeat them",
        ratio));
  }
  const double apart = told_apart();
  if (apart >= kToldApart) {
    fail(
        fmt::format("cached: result cached between calls: calls on contents that change take "
                    "{:.1f} times as long as those of samples",
                    apart));
  }
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
      *best = std::min(*best, timed_calls(1, Between::kNothing));
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
