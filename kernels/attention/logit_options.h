// Softcap, ALiBi, bias and masks on a row of fp32 logits: what every attention kernel may call
// where it does not fuse these options itself.
#pragma once

#include <cstdint>
#include <span>

#include "reference/attention.h"

namespace pareto {

/// Looks up the option operands of one call. `in` is indexed by AttentionSlot.
class LogitOptions {
 public:
  LogitOptions(const AttentionProblem& problem, std::span<const Tensor> in);

  /// Turns the logits scale·q·k of query (head_q, i) and keys j0 … j0 + count − 1 into final ones,
  /// in place; −∞ where masks, windows or `allowed` hide a key. `range` is the query's visible
  /// range.
  void apply(const AttentionSequence& sequence, std::int64_t head_q, std::int64_t i, KeyRange range,
             std::int64_t j0, std::int64_t count, float* logits) const;
  /// The sink's logit of a head; −∞ if there are no sinks.
  [[nodiscard]] float sink(std::int64_t head_q) const;
  /// Does the query see key j? For kernels that must keep a non-finite v of a hidden key out.
  [[nodiscard]] bool sees(const AttentionSequence& sequence, std::int64_t head_q, std::int64_t i,
                          KeyRange range, std::int64_t j) const;

 private:
  float softcap_;
  const float* slopes_;
  const float* sinks_;
  AttentionBroadcast<float> bias_;
  AttentionBroadcast<std::uint8_t> allowed_;
};

}  // namespace pareto
