// One case as the sampler calls it: operand sets in the named cache state, and the checks of the
// very calls that are timed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "harness/audit.h"
#include "harness/call_buffers.h"
#include "harness/call_timer.h"
#include "harness/case.h"
#include "harness/contents.h"
#include "harness/sampler.h"
#include "harness/sign_flips.h"
#include "harness/thread_pool.h"

namespace pareto {

/// Warm: one set of operands, contents swapped in place before each visit. Cold: as many sets as
/// exceed three last-level caches (of the device, where it runs there), each with weights of other
/// contents, packed weights, workspace and outputs of its own: who keeps one copy of equal weights
/// for all sets keeps nothing in the caches.
class MeasuredCall : public Subject {
 public:
  /// Prepares every set and verifies the output of every content, untimed. `message` of a failed
  /// verification is in `failure()`. Throws what `prepare` throws.
  MeasuredCall(const Case& subject, Contents& contents, ThreadPool& pool);
  ~MeasuredCall() override;

  void begin_visit() override;
  void before_sample() override;
  double sample(std::int64_t batch) override;
  void end_visit() override;
  [[nodiscard]] double shortest_sample_s() const override { return timer_->shortest_sample_s(); }

  /// What runs calls with nothing in between, for a meter that takes seconds: as many as `batch` or
  /// as make whole rotations through the sets. `calls` of it are made at once.
  struct Unbroken {
    std::function<void()> run;
    std::int64_t calls = 1;
  };
  [[nodiscard]] Unbroken unbroken(std::int64_t batch);

  /// After the last sample: what only shows at the end (threads left running, results remembered
  /// between calls).
  void finish();

  /// "" or the check that failed, by the name of the trick, with its details.
  [[nodiscard]] const std::string& failure() const { return failure_; }
  [[nodiscard]] const Agreement& agreement() const { return agreement_; }
  [[nodiscard]] const Verdict& verdict() const { return verdict_; }
  [[nodiscard]] double prepare_s() const { return prepare_s_; }
  [[nodiscard]] std::size_t packed_bytes() const;
  /// What one prepared set allocated (packed operands and workspace).
  [[nodiscard]] std::size_t allocated_bytes() const { return allocated_bytes_; }
  [[nodiscard]] std::size_t sets() const { return sets_.size(); }
  [[nodiscard]] const CallTimer& timer() const { return *timer_; }

 private:
  struct Set {
    std::unique_ptr<CallBuffers> buffers;
    std::unique_ptr<Prepared> prepared;
    int content = 0;
    std::int64_t rotation = 0;  ///< of its weights
  };
  void add_set(int content, std::int64_t rotation);
  void verify_contents();
  [[nodiscard]] std::int64_t number(const Set& set, int content) const;
  void verify_on(Set& set, int content);
  void verify_where_unforeseen(const Arithmetic& arithmetic, std::span<const Tensor> got);
  void start(Set& set, std::span<const Tensor> out);
  void call(Set& set, std::span<const Tensor> out);
  void call(Set& set) { call(set, set.buffers->out()); }
  [[nodiscard]] bool on_device() const { return sets_[0].buffers->on_device(); }
  void must_be_untouched(const Set& set, const std::vector<std::uint64_t>& before);
  void must_not_be_empty(const Set& set, bool empty);
  /// What happens before each call of a burst.
  enum class Between : std::uint8_t {
    kNothing,
    kChange,      ///< a new content, the twin of the visit's for the last call
    kNetNothing,  ///< as many flips on as many lines, but the content stays
    kTwinOnce,    ///< before one call, drawn by chance: one flip, which makes the twin
  };
  void call_in_turn(std::int64_t calls, Between between);
  double timed_calls(
      std::int64_t batch, Between between, const std::function<void(bool)>& recorded = [](bool) {});
  void prepare_contents(Set& set, Between between, std::int64_t calls_left);
  void change(Set& set, bool last);
  void change_and_restore(Set& set);
  Diagonal next_diagonal(const Tensor& operand);
  void undo_changes(const Set* only);
  static constexpr int kSamplesOfVisit = 4;
  static constexpr std::size_t kLooks = 2;  ///< at contents in quick succession, at least
  bool wants_look();
  [[nodiscard]] std::size_t last_of_burst(std::int64_t calls) const;
  [[nodiscard]] std::int64_t calls_up_to_a_twin(std::int64_t calls) const;
  double burst(std::int64_t calls, Between between);
  void look_at_changing_contents();
  void look_at_restored_contents();
  void look_at_a_burst_of_unforeseen_length();
  void must_be_twin(const char* seen);
  [[nodiscard]] double changes_against(const std::vector<double>& others_s) const;
  [[nodiscard]] double told_apart() const;
  void look_for_remembered_results();
  void look(bool restoring);
  void look_by_turns();
  void look_for_results_by_content();
  void begin_warm_visit();
  void begin_cold_visit();
  double cost_ratio_of_new_contents(int pairs);
  void look_again();
  void fail(const std::string& message);

  const Case& case_;
  const Variant& variant_;
  Contents& contents_;
  ThreadPool& pool_;
  bool cold_;
  std::vector<Set> sets_;
  std::unique_ptr<CallTimer> timer_;
  Audit audit_;
  std::size_t next_set_ = 0;
  std::int64_t visit_ = 0;
  std::int64_t probes_ = 0;
  std::int64_t last_batch_ = 1;
  bool auditing_ = false;   ///< the next sample is audited
  Set* audited_ = nullptr;  ///< set whose outputs wait to be compared
  Set* last_ = nullptr;     ///< set of the last timed call
  struct Change {
    Set* set;
    Diagonal diagonal;
  };
  std::vector<Change> changes_;  ///< signs that are flipped at the moment
  Set* twin_ = nullptr;          ///< set that holds the twin of its content at the moment
  Diagonal diagonal_;            ///< of the last change
  std::int64_t twin_call_ = 0;   ///< calls left when kTwinOnce flips
  double flipping_s_ = 0;        ///< time that changes took since the burst began
  std::mt19937_64 unforeseen_{std::random_device{}()};
  int sample_of_visit_ = 0;
  int changing_at_ = -1;   ///< number of the sample before which contents change; −1: of none
  int restoring_at_ = -1;  ///< the same for changes that are undone at once
  std::vector<double> repeating_s_;  ///< per call, of samples
  std::vector<double> changing_s_;   ///< per call, on contents that change from call to call
  std::vector<double> restored_s_;   ///< per call, on contents that are changed and restored
  std::int64_t calls_of_look_ = 1;   ///< how many such calls followed each other
  int unforeseen_bursts_ = 0;        ///< bursts of unforeseen length that were compared
  double sampled_s_ = 0;             ///< all samples together
  double looking_s_ = 0;             ///< all bursts of looks together
  double cold_audit_s_ = 0;          ///< untimed, before the last audited cold sample
  double prepare_s_ = 0;
  std::size_t allocated_bytes_ = 0;
  Agreement agreement_;
  Verdict verdict_;
  std::string failure_;
};

}  // namespace pareto
