#include "kernels/attention/logit_options.h"

#include <cmath>
#include <limits>

namespace pareto {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

}  // namespace

LogitOptions::LogitOptions(const AttentionProblem& problem, std::span<const Tensor> in)
    : softcap_(static_cast<float>(problem.softcap)),
      slopes_(in[kAttentionAlibiSlopes].as<const float>()),
      sinks_(in[kAttentionSinks].as<const float>()),
      bias_(AttentionBroadcast<float>::of(in[kAttentionBias])),
      allowed_(AttentionBroadcast<std::uint8_t>::of(in[kAttentionAllowed])) {}

float LogitOptions::sink(std::int64_t head_q) const {
  return sinks_ != nullptr ? sinks_[head_q] : kMinusInfinity;
}

bool LogitOptions::sees(const AttentionSequence& sequence, std::int64_t head_q, std::int64_t i,
                        KeyRange range, std::int64_t j) const {
  if (j < range.lo || j >= range.hi) return false;
  return allowed_.data == nullptr ||
         allowed_.row(sequence.b, head_q, i)[j * allowed_.stride_j] != 0;
}

void LogitOptions::apply(const AttentionSequence& sequence, std::int64_t head_q, std::int64_t i,
                         KeyRange range, std::int64_t j0, std::int64_t count, float* logits) const {
  const std::int64_t begin = std::clamp<std::int64_t>(range.lo - j0, 0, count);
  const std::int64_t end = std::clamp<std::int64_t>(range.hi - j0, begin, count);
  std::fill(logits, logits + begin, kMinusInfinity);
  std::fill(logits + end, logits + count, kMinusInfinity);
  if (softcap_ > 0) {
    for (std::int64_t j = begin; j < end; ++j) {
      logits[j] = softcap_ * std::tanh(logits[j] / softcap_);
    }
  }
  if (slopes_ != nullptr) {
    const float slope = slopes_[head_q];
    for (std::int64_t j = begin; j < end; ++j) {
      logits[j] -= slope * static_cast<float>(alibi_distance(sequence, i, j0 + j));
    }
  }
  if (bias_.data != nullptr) {
    const float* row = bias_.row(sequence.b, head_q, i) + j0 * bias_.stride_j;
    for (std::int64_t j = begin; j < end; ++j) logits[j] += row[j * bias_.stride_j];
  }
  if (allowed_.data == nullptr) return;
  const std::uint8_t* row = allowed_.row(sequence.b, head_q, i) + j0 * allowed_.stride_j;
  for (std::int64_t j = begin; j < end; ++j) {
    if (row[j * allowed_.stride_j] == 0) logits[j] = kMinusInfinity;
  }
}

}  // namespace pareto
