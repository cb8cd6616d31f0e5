#include "harness/measured_call.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/affinity.h"
#include "harness/clock.h"
#include "harness/crash.h"
#include "harness/device.h"
#include "harness/machine.h"
#include "harness/registry.h"

namespace pareto {
namespace {

// Cold operands must not survive in the last-level cache until their turn comes again.
constexpr double kColdCaches = 3;
// Operands that are so many caches big push themselves out: what a call may find of the one before
// it is a sixteenth. More sets would only need memory.
constexpr double kAloneColdCaches = 16;
// Tiny operands would need endless sets; past this many the rotation exceeds the private caches.
constexpr std::size_t kMostSets = 8192;
// Twins that differ in so many elements with some weights do not agree by rounding with others.
constexpr std::int64_t kClearlyDifferent = 16;
// Audited cold samples cost an untimed rotation and at times a reference: below this time each, as
// often as warm ones.
constexpr double kCheapAuditS = 0.05;

AuditOptions audit_options(const Case& subject, const Arithmetic& arithmetic) {
  return {.seed = subject.source.seed,
          .deterministic = arithmetic.deterministic,
          // A device's driver has threads of its own, too.
          .own_threads = subject.variant->own_threads || subject.variant->needs_cuda > 0};
}

std::int64_t last_level_bytes(const Variant& variant) {
  return variant.needs_cuda > 0 ? device_info().l2_bytes : this_machine().last_level_bytes();
}

}  // namespace

MeasuredCall::MeasuredCall(const Case& subject, Contents& contents, ThreadPool& pool)
    : case_(subject),
      variant_(open(*subject.variant)),
      contents_(contents),
      pool_(pool),
      cold_(subject.cache == "cold"),
      timer_(variant_.needs_cuda > 0 ? device_timer() : host_timer()),
      audit_(full_name(*subject.variant),
             audit_options(subject, arithmetic_of(*subject.variant, subject.problem))) {
  add_set(0, 0);
  const std::size_t set_bytes = std::max<std::size_t>(
      1, sets_[0].buffers->bytes() + std::max(packed_bytes(), allocated_bytes_));
  if (cold_) {
    const auto cache = static_cast<double>(last_level_bytes(variant_));
    const auto set = static_cast<double>(set_bytes);
    const std::size_t count = set >= kAloneColdCaches * cache
                                  ? 1
                                  : static_cast<std::size_t>(kColdCaches * cache / set) + 2;
    for (std::size_t i = 1; i < std::min(count, kMostSets); ++i) {
      add_set(static_cast<int>(i) % contents_.count(),
              contents_.has_weights() ? static_cast<std::int64_t>(i) : 0);
    }
  }
  verify_contents();
}

MeasuredCall::~MeasuredCall() = default;

void MeasuredCall::add_set(int content, std::int64_t rotation) {
  Set set;
  set.content = content;
  set.rotation = rotation;
  const Operands others = rotation == 0 ? Operands{} : contents_.rotated(content, rotation);
  set.buffers = std::make_unique<CallBuffers>(variant_, case_.problem,
                                              rotation == 0 ? contents_.operands(content) : others,
                                              Layout::kTimed);
  const std::size_t before = counted_bytes();
  const double start = now_s();
  set.prepared = set.buffers->prepare(variant_, case_.problem, pool_);
  if (sets_.empty()) {
    prepare_s_ = now_s() - start;
    allocated_bytes_ = counted_bytes() - before;
  }
  set.buffers->release_unseen();
  sets_.push_back(std::move(set));
}

void MeasuredCall::verify_contents() {
  Set& set = sets_[0];
  const Arithmetic arithmetic = arithmetic_of(variant_, case_.problem);
  for (int content = 0; content < contents_.count(); ++content) {
    set.buffers->load_transient(contents_.operands(content));
    set.buffers->poison_outputs();
    call(set);
    if (variant_.own_threads) pin_library_threads(this_machine().pinning(pool_.size()));
    const Expected& expected = contents_.expected(content);
    std::vector<Bounds> bounds = bounds_of(expected, arithmetic);
    Outputs outputs = set.buffers->copy_outputs();
    const Verdict verdict = verify(expected, bounds, views_of(outputs));
    if (content == 0) {
      verdict_ = verdict;
      agreement_ = agreement_of(contents_, views_of(outputs));
      if (verdict.pass) verify_where_unforeseen(arithmetic, views_of(outputs));
    }
    if (!verdict.pass) fail(fmt::format("{}: {}", verdict.check, verdict.message));
    audit_.set_verified(content, std::move(outputs), expected, std::move(bounds));
  }
  set.buffers->load_transient(contents_.operands(0));
}

// What Audit calls a content: the weights count, too.
std::int64_t MeasuredCall::number(const Set& set, int content) const {
  return set.rotation * contents_.count() + content;
}

// For sets with weights of their own: what one of their contents must give, at the first need.
void MeasuredCall::verify_on(Set& set, int content) {
  if (audit_.has_verified(number(set, content))) return;
  const Arithmetic arithmetic = arithmetic_of(variant_, case_.problem);
  set.buffers->load_transient(contents_.operands(content));
  set.buffers->poison_outputs();
  call(set);
  Expected expected = contents_.expected_rotated(content, set.rotation);
  std::vector<Bounds> bounds = bounds_of(expected, arithmetic);
  Outputs outputs = set.buffers->copy_outputs();
  const Verdict verdict = verify(expected, bounds, views_of(outputs));
  if (!verdict.pass) {
    fail(
        fmt::format("{}: with other weights of the same kind: {}", verdict.check, verdict.message));
  }
  audit_.set_verified(number(set, content), std::move(outputs), std::move(expected),
                      std::move(bounds));
  set.buffers->load_transient(contents_.operands(set.content));
  const int twin = contents_.twin_of(content);
  if (twin >= 0 && audit_.differences(content, twin) >= kClearlyDifferent &&
      audit_.differences(number(set, content), number(set, twin)) == 0) {
    fail("cached: result cached between calls: two contents give the same outputs");
  }
}

// Of a big output only a part is compared, and its places follow from a seed that anybody may know.
void MeasuredCall::verify_where_unforeseen(const Arithmetic& arithmetic,
                                           std::span<const Tensor> got) {
  const Expected* expected = contents_.unforeseen();
  if (expected == nullptr) return;
  const Verdict verdict = verify(*expected, bounds_of(*expected, arithmetic), got);
  if (verdict.pass) return;
  fail(fmt::format("{}: right only where it is usually compared: {}", verdict.check,
                   verdict.message));
}

// One place calls whatever is timed, checked or probed: no kernel can tell by its caller.
[[gnu::noinline]] void MeasuredCall::start(Set& set, std::span<const Tensor> out) {
  try {
    set.prepared->run({set.buffers->in(), out, pool_});
  } catch (const std::exception& error) {
    end_as_fault(fmt::format("exception: run threw: {}", error.what()));
  }
}

void MeasuredCall::call(Set& set, std::span<const Tensor> out) {
  start(set, out);
  if (on_device()) device().synchronize();
}

// A look costs as much as some samples: long calls get few.
bool MeasuredCall::wants_look() {
  constexpr unsigned kVisitsPerLook = 4;
  constexpr double kMostOfSamples = 0.02;
  if (auditing_ || on_device() || visit_ < 2) return false;
  if (changing_s_.size() >= kLooks && looking_s_ > kMostOfSamples * sampled_s_) return false;
  return unforeseen_() % kVisitsPerLook == 0;
}

void MeasuredCall::begin_visit() {
  auditing_ = audit_.wants(visit_);
  ++visit_;
  sample_of_visit_ = 0;
  restoring_at_ = -1;
  changing_at_ = wants_look() ? static_cast<int>(unforeseen_() % kSamplesOfVisit) : -1;
  if (cold_) {
    begin_cold_visit();
  } else {
    begin_warm_visit();
  }
}

// The warming call writes elsewhere when the timed call must prove that it writes every element.
void MeasuredCall::begin_warm_visit() {
  Set& set = sets_[0];
  set.content = static_cast<int>(visit_ % contents_.count());
  set.buffers->load_transient(contents_.operands(set.content));
  if (auditing_) {
    audit_.poison(*set.buffers, set.content);
    call(set, set.buffers->scratch());
  } else {
    call(set);
  }
}

// The set that the first timed sample will end on is poisoned, and those called that the sample
// does not come to before it: all others were called longer ago.
void MeasuredCall::begin_cold_visit() {
  if (auditing_ && cold_audit_s_ > kCheapAuditS) auditing_ = visit_ % 4 == 0;
  if (!auditing_) return;
  const double start = now_s();
  const std::size_t count = sets_.size();
  const auto calls = static_cast<std::size_t>(last_batch_);
  const std::size_t last = (next_set_ + calls - 1) % count;
  verify_on(sets_[last], sets_[last].content);
  audit_.poison(*sets_[last].buffers, number(sets_[last], sets_[last].content));
  for (std::size_t i = 1; i + calls <= count; ++i) call(sets_[(last + i) % count]);
  cold_audit_s_ = now_s() - start;
}

void MeasuredCall::call_in_turn(std::int64_t calls, Between between) {
  std::size_t index = next_set_;
  const std::size_t count = sets_.size();
  for (std::int64_t i = 0; i < calls; ++i) {
    last_ = &sets_[index];
    if (between != Between::kNothing) prepare_contents(*last_, between, calls - i);
    start(*last_, last_->buffers->out());
    if (++index == count) index = 0;
  }
  next_set_ = index;
}

double MeasuredCall::timed_calls(std::int64_t batch, Between between,
                                 const std::function<void(bool)>& recorded) {
  return timer_->time([this, batch, between] { call_in_turn(batch, between); }, recorded);
}

MeasuredCall::Unbroken MeasuredCall::unbroken(std::int64_t batch) {
  const auto sets = static_cast<std::int64_t>(sets_.size());
  const std::int64_t calls = (batch + sets - 1) / sets * sets;
  const CallTimer::Repeated repeated =
      timer_->repeated([this, calls] { call_in_turn(calls, Between::kNothing); });
  return {.run = repeated.run, .calls = calls * repeated.times};
}

void MeasuredCall::before_sample() {
  if (sample_of_visit_ == restoring_at_) look_at_restored_contents();
  if (sample_of_visit_ == changing_at_) {
    look_at_changing_contents();
    look_at_a_burst_of_unforeseen_length();
  }
  ++sample_of_visit_;
}

double MeasuredCall::sample(std::int64_t batch) {
  last_batch_ = batch;
  // Outputs that a recorded call has touched were written by work that the recording will not time.
  std::vector<std::uint64_t> untouched;
  const std::size_t final = (next_set_ + static_cast<std::size_t>(batch) - 1) % sets_.size();
  if (auditing_ && on_device()) untouched = sets_[final].buffers->output_sample();
  if (auditing_) audit_.call_begins();
  const std::uint64_t count = counter_now();
  const double seconds = timed_calls(batch, Between::kNothing, [&](bool empty) {
    must_be_untouched(*last_, untouched);
    must_not_be_empty(*last_, empty);
  });
  // A device keeps time by itself.
  if (!on_device()) audit_.timed(seconds, counter_now() - count);
  if (auditing_) {
    audit_.call_ended(*last_->buffers);
    // Another set than was poisoned, where the batch has changed since.
    audited_ = audit_.has_verified(number(*last_, last_->content)) ? last_ : nullptr;
    auditing_ = false;
  }
  fail(timer_->failure());
  repeating_s_.push_back(seconds / static_cast<double>(batch));
  sampled_s_ += seconds;
  // Nobody looks for a batch that lasts long enough of what has failed: it might take no time.
  return failure_.empty() ? seconds : std::max(seconds, timer_->shortest_sample_s());
}

void MeasuredCall::must_be_untouched(const Set& set, const std::vector<std::uint64_t>& before) {
  if (before.empty() || set.buffers->output_sample() == before) return;
  fail("late: outputs were written while the call was being recorded: work outside of the stream");
}

void MeasuredCall::must_not_be_empty(const Set& set, bool empty) {
  const std::span<const Tensor> out = set.buffers->out();
  const bool writes =
      std::any_of(out.begin(), out.end(), [](const Tensor& tensor) { return tensor.bytes() > 0; });
  if (empty && writes)
    fail("late: a call starts nothing on the stream: work outside of the stream");
}

void MeasuredCall::end_visit() {
  if (audited_ != nullptr) {
    fail(audit_.compare(*audited_->buffers, number(*audited_, audited_->content)));
  }
  audited_ = nullptr;
}

// Every content once more, after all timed calls: whoever is right only for so many calls has to be
// right for more than were timed.
void MeasuredCall::look_again() {
  Set& set = sets_[0];
  for (int content = 0; content < contents_.count() && failure_.empty(); ++content) {
    set.buffers->load_transient(contents_.operands(content));
    audit_.poison(*set.buffers, content);
    audit_.call_begins();
    call(set);
    audit_.call_ended(*set.buffers);
    fail(audit_.compare(*set.buffers, content));
  }
}

void MeasuredCall::finish() {
  look_for_remembered_results();
  look_again();
  fail(audit_.finish());
  if (failure_.empty()) look_for_results_by_content();
}

std::size_t MeasuredCall::packed_bytes() const { return sets_[0].prepared->packed_bytes(); }

void MeasuredCall::fail(const std::string& message) {
  if (failure_.empty()) failure_ = message;
}

}  // namespace pareto
