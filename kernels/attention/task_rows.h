// What a call of the blocked attention kernels brings, and what becomes of it in one row of a task.
#pragma once

#include <cstdint>
#include <span>

#include "harness/variant.h"
#include "kernels/attention/finish_row.h"
#include "reference/attention.h"

namespace pareto {

/// What one call brings, looked up once.
struct AttentionCall {
  std::span<const Tensor> in;
  Tensor o;
  Tensor lse;
  AttentionTables tables;
  AttentionBroadcast<float> bias;
  AttentionBroadcast<std::uint8_t> allowed;
  const float* slopes = nullptr;
  const float* sinks = nullptr;

  explicit AttentionCall(const Call& call)
      : in(call.in),
        o(call.out[kAttentionO]),
        lse(call.out[kAttentionLse]),
        tables(AttentionTables::from(call.in)),
        bias(AttentionBroadcast<float>::of(call.in[kAttentionBias])),
        allowed(AttentionBroadcast<std::uint8_t>::of(call.in[kAttentionAllowed])),
        slopes(call.in[kAttentionAlibiSlopes].as<const float>()),
        sinks(call.in[kAttentionSinks].as<const float>()) {}

  /// Row `row` of o and LSE if it sees no key and has no sink.
  void store_empty(std::int64_t row, std::int64_t head_dim_v) const;
};

/// What turns q·k of one row into a logit. Pointers stand at key 0 of the sequence.
struct LogitTerms {
  float factor = 1;           ///< of q·k: to units of log 2, or to tanh's argument under a softcap
  float cap = 0;              ///< softcap in units of log 2; 0: none
  float slope = 0;            ///< ALiBi's, likewise
  std::int64_t position = 0;  ///< of the query among the keys
  const float* bias = nullptr;
  std::int64_t bias_stride = 0;
  const std::uint8_t* allowed = nullptr;
  std::int64_t allowed_stride = 0;
  KeyRange range;  ///< keys left by masks and windows

  [[nodiscard]] bool sees(std::int64_t j) const {
    return j >= range.lo && j < range.hi &&
           (allowed == nullptr || allowed[j * allowed_stride] != 0);
  }
};

/// One row of a task.
struct TaskRow {
  LogitTerms terms;
  SoftmaxState state;
};

/// The terms of a query of one sequence.
LogitTerms terms_of_query(const AttentionProblem& problem, const AttentionCall& call,
                          const AttentionSequence& sequence, std::int64_t head, std::int64_t query,
                          float k_head_scale);

}  // namespace pareto
