// Counted work of attention: floating-point operations of the mask in use, bytes of the keys that
// masks and windows leave to some query.
#include <algorithm>
#include <vector>

#include "reference/attention_op.h"

namespace pareto {
namespace {

/// Operands whose elements are worth counting as the KV cache.
double kv_elements(const AttentionProblem& p, double tokens) {
  return tokens * static_cast<double>(p.heads_kv) *
         static_cast<double>(p.head_dim + (p.has_v ? p.head_dim_v : 0));
}

/// Bytes of k and v with their scales: those of `tokens` tokens.
double kv_bytes(const AttentionProblem& p, double tokens) {
  double bytes = kv_elements(p, tokens) * static_cast<double>(size_of(p.kv_dtype));
  const double tensors = p.has_v ? 2 : 1;
  if (p.kv_dtype == DType::kS8) bytes += tensors * 4 * tokens * static_cast<double>(p.heads_kv);
  if (p.kv_dtype == DType::kE4m3) {
    bytes += tensors * 4 * static_cast<double>(p.heads_kv * (p.paged() ? 1 : p.batch));
  }
  return bytes;
}

/// Tokens of all sequences.
struct TokenCounts {
  double q = 0;
  double kv = 0;
  double seen = 0;  ///< of kv, by a query at least
};

Work work_of(const AttentionProblem& p, double visible, const TokenCounts& tokens,
             double other_bytes) {
  Work work;
  work.flops = 2 * visible * static_cast<double>(p.head_dim + p.head_dim_v);
  const double rows = tokens.q * static_cast<double>(p.heads_q);
  work.compressed_bytes = kv_bytes(p, tokens.kv);
  work.dense16_bytes = 2 * kv_elements(p, tokens.kv);
  work.bytes =
      rows * static_cast<double>(p.head_dim) * static_cast<double>(size_of(p.q_dtype)) +
      kv_bytes(p, tokens.seen) + other_bytes +
      rows * static_cast<double>(p.head_dim_v) * static_cast<double>(size_of(p.out_dtype)) +
      rows * 4;
  return work;
}

// Σ clamp(first + i, 0, top) over i = 0 … count − 1.
double clamped_sum(std::int64_t first, std::int64_t count, std::int64_t top) {
  const std::int64_t rise = std::clamp<std::int64_t>(-first, 0, count);
  const std::int64_t level = std::clamp<std::int64_t>(top - first, rise, count);
  const auto steps = static_cast<double>(level - rise);
  const auto middle = static_cast<double>(2 * first + rise + level - 1) / 2;
  return steps * middle + static_cast<double>(count - level) * static_cast<double>(top);
}

/// What query i of a sequence sees: keys first + i to last + i of those that there are.
struct Band {
  std::int64_t first = 0;
  std::int64_t last = 0;

  static Band of(const AttentionProblem& p, std::int64_t seq_q, std::int64_t seq_kv) {
    const std::int64_t offset = p.offset(seq_q, seq_kv);
    // What reaches beyond every key is no limit, and must not overflow.
    const std::int64_t far = seq_q + seq_kv;
    std::int64_t right = p.window_right < 0 ? far : std::min(p.window_right, far);
    if (p.mask != AttentionMask::kNone) right = 0;
    const std::int64_t left = p.window_left < 0 ? far : std::min(p.window_left, far);
    return {offset - left, offset + right};
  }
};

// Sum of AttentionProblem::visible(i).size() in closed form: plans hold many long sequences.
double visible_without_filter(const AttentionProblem& p, std::int64_t seq_q, std::int64_t seq_kv) {
  const Band band = Band::of(p, seq_q, seq_kv);
  return clamped_sum(band.last + 1, seq_q, seq_kv) - clamped_sum(band.first, seq_q, seq_kv);
}

// Keys that some query sees: bands of neighbours overlap or touch.
double seen_keys(const AttentionProblem& p, std::int64_t seq_q, std::int64_t seq_kv) {
  if (seq_q == 0) return 0;
  const Band band = Band::of(p, seq_q, seq_kv);
  const std::int64_t begin = std::clamp<std::int64_t>(band.first, 0, seq_kv);
  const std::int64_t end = std::clamp<std::int64_t>(band.last + seq_q, begin, seq_kv);
  return static_cast<double>(end - begin);
}

}  // namespace

double attention_visible_keys(const AttentionProblem& p, std::span<const Tensor> in) {
  const AttentionTables tables = AttentionTables::from(in);
  const auto allowed = AttentionBroadcast<std::uint8_t>::of(in[kAttentionAllowed]);
  double sum = 0;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const AttentionSequence s = AttentionSequence::of(p, tables, b);
    if (allowed.data == nullptr) {
      sum += static_cast<double>(p.heads_q) * visible_without_filter(p, s.seq_q, s.seq_kv);
      continue;
    }
    const std::int64_t heads =
        allowed.stride_h == 0 ? std::min<std::int64_t>(1, p.heads_q) : p.heads_q;
    std::int64_t keys = 0;
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t i = 0; i < s.seq_q; ++i) {
        const KeyRange range = p.visible(i, s.seq_q, s.seq_kv);
        const std::uint8_t* row = allowed.row(b, head, i);
        for (std::int64_t j = range.lo; j < range.hi; ++j) keys += row[j * allowed.stride_j] != 0;
      }
    }
    const std::int64_t shared_by = heads > 0 ? p.heads_q / heads : 0;
    sum += static_cast<double>(keys * shared_by);
  }
  return sum;
}

Work attention_work(const AttentionProblem& p, const Operands& operands) {
  std::vector<Tensor> in;
  for (const HostTensor& operand : operands) in.push_back(operand.view());
  double other = 0;
  for (int slot = kAttentionQScale; slot < kAttentionSlotCount; ++slot) {
    if (slot != kAttentionKScale && slot != kAttentionVScale) {
      other += static_cast<double>(in[slot].bytes());
    }
  }
  TokenCounts tokens;
  const AttentionTables tables = AttentionTables::from(in);
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const AttentionSequence s = AttentionSequence::of(p, tables, b);
    tokens.q += static_cast<double>(s.seq_q);
    tokens.kv += static_cast<double>(s.seq_kv);
    tokens.seen += seen_keys(p, s.seq_q, s.seq_kv);
  }
  return work_of(p, attention_visible_keys(p, in), tokens, other);
}

Work attention_estimate(const AttentionProblem& p) {
  // Drawn lengths are uniform up to the longest: half of it on average.
  const double share_q = p.ragged_q() && p.batch > 1 ? 0.5 : 1;
  const double share_kv = p.layout != AttentionLayout::kDense && p.batch > 1 ? 0.5 : 1;
  const auto batch = static_cast<double>(p.batch);
  const double visible = share_q * share_kv * batch * static_cast<double>(p.heads_q) *
                         visible_without_filter(p, p.seq_q, p.seq_kv);
  const TokenCounts tokens{share_q * batch * static_cast<double>(p.seq_q),
                           share_kv * batch * static_cast<double>(p.seq_kv),
                           share_kv * batch * seen_keys(p, p.seq_q, p.seq_kv)};
  return work_of(p, visible, tokens, 0);
}

}  // namespace pareto
