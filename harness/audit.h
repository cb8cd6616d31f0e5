// Checks of the very calls that are timed. Nothing here runs inside the timer.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "harness/call_buffers.h"
#include "harness/checker.h"
#include "harness/clock_watch.h"
#include "harness/process_state.h"
#include "harness/thread_watch.h"
#include "harness/variant.h"

namespace pareto {

struct AuditOptions {
  std::uint64_t seed = 1;
  double fraction = 1.0 / 8;  ///< of the samples, drawn by the seed; the first is always audited
  bool deterministic = true;  ///< compare bit for bit; else within the bound
  bool own_threads = false;   ///< a library with threads of its own: they may linger
};

/// Verified results and the seeded draw of one variant's timed samples. Make it before the
/// variant's `prepare`, so that threads which that starts are noticed. Contents go by numbers of
/// the caller's choice.
class Audit {
 public:
  Audit(std::string variant_name, const AuditOptions& options);

  /// What `content` must give: outputs of a call that check_variant or `verify` accepted. Bounds
  /// and reference are needed for variants that are not deterministic. Call it with content 0
  /// before other variants run in this process.
  void set_verified(std::int64_t content, Outputs outputs, Expected expected = {},
                    std::vector<Bounds> bounds = {});
  [[nodiscard]] bool has_verified(std::int64_t content) const {
    return verified_.contains(content);
  }
  /// Elements of the outputs in which two contents differ; −1 if one of them is not verified.
  [[nodiscard]] std::int64_t differences(std::int64_t content, std::int64_t other) const;

  /// True if this sample is to be audited; the draw depends on seed and number only.
  [[nodiscard]] bool wants(std::int64_t sample) const;
  /// Untimed, before the rotation or warming call that precedes the timed call on `content`: fills
  /// the outputs with poison or, by turns, with the verified results of another content.
  void poison(CallBuffers& buffers, std::int64_t content);
  /// Untimed, just before the timer starts.
  void call_begins();
  /// First thing after the timer has stopped: a sample of the outputs, floating-point modes.
  void call_ended(const CallBuffers& buffers);
  /// Later, untimed: compares everything. "" or the failed check, by the name of the trick.
  std::string compare(const CallBuffers& buffers, std::int64_t content);
  /// "" or why the outputs `got` (host tensors) are not what `content` must give.
  [[nodiscard]] std::string compare_outputs(std::span<const Tensor> got,
                                            std::int64_t content) const;
  /// Every timed interval: `seconds` by the clock, `counts` of the processor's counter.
  void timed(double seconds, std::uint64_t counts) { clock_.add(seconds, counts); }
  /// After the variant's last sample: what shows only over many calls, or outside them.
  [[nodiscard]] std::string finish() const;

  [[nodiscard]] std::int64_t audited() const { return audited_; }

 private:
  struct Verified {
    Outputs outputs;
    Expected expected;
    std::vector<Bounds> bounds;
  };
  [[nodiscard]] std::string written_late(const CallBuffers& buffers) const;

  std::string variant_name_;
  AuditOptions options_;
  std::map<std::int64_t, Verified> verified_;
  std::vector<std::uint64_t> sample_;  ///< some elements of the outputs as the call left them
  std::uint32_t modes_before_ = 0;
  std::uint32_t modes_after_ = 0;
  ThreadWatch since_start_;
  ThreadWatch since_call_;
  ProcessorWatch processors_;
  ClockWatch clock_;
  ProcessState state_;  ///< before the call
  std::string changed_state_;
  double hidden_s_ = 0;    ///< processor time on threads that came and went, over all audited calls
  double used_s_ = 0;      ///< processor time of all audited calls
  std::string lingering_;  ///< threads that outlived prepare and the first call
  std::int64_t audited_ = 0;
  std::int64_t poisoned_ = 0;
};

}  // namespace pareto
