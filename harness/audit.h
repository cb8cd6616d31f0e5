// Checks of the very calls that are timed. Nothing here runs inside the timer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/call_buffers.h"
#include "harness/checker.h"
#include "harness/thread_watch.h"
#include "harness/variant.h"

namespace pareto {

struct AuditOptions {
  std::uint64_t seed = 1;
  double fraction = 1.0 / 8;  ///< of the samples, drawn by the seed; the first is always audited
  bool deterministic = true;  ///< compare bit for bit; else within the bound
  bool own_threads = false;   ///< a library with threads of its own: they may linger
};

/// Verified results and the seeded draw of one variant's timed samples.
class Audit {
 public:
  Audit(std::string variant_name, const AuditOptions& options);

  /// What `content` must give: outputs of a call that check_variant or `verify` accepted. Bounds
  /// and reference are needed for variants that are not deterministic.
  void set_verified(int content, Outputs outputs, Expected expected = {},
                    std::vector<Bounds> bounds = {});

  /// True if this sample (numbered from 0, asked in order) is to be audited.
  bool wants(std::int64_t sample) const;
  /// Untimed, before the rotation or warming call that precedes the timed call.
  void poison(CallBuffers& buffers) { buffers.poison_outputs(); }
  /// Untimed, just before the timer starts.
  void call_begins();
  /// First thing after the timer has stopped: snapshot of the outputs, floating-point modes.
  void call_ended(const CallBuffers& buffers);
  /// Later, untimed: compares everything. "" or the failed check, by name of the trick.
  std::string compare(const CallBuffers& buffers, int content);
  /// After the variant's last sample, with the variant idle: threads still running.
  std::string finish();

  [[nodiscard]] std::int64_t audited() const { return audited_; }

 private:
  struct Verified {
    Outputs outputs;
    Expected expected;
    std::vector<Bounds> bounds;
  };
  std::string compare_outputs(const Outputs& got, int content) const;
  std::string variant_name_;
  AuditOptions options_;
  std::vector<Verified> verified_;
  Outputs snapshot_;
  std::uint32_t modes_before_ = 0;
  std::string modes_changed_;
  ThreadWatch threads_;
  std::int64_t audited_ = 0;
};

}  // namespace pareto
