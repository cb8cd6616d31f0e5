// Attention row by row in fp64: the logits of one query and its softmax, from the very operands.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "reference/attention.h"
#include "reference/parallel_rows.h"

namespace pareto {

/// A mistake made on purpose in the evaluation of rows; all off: the truth.
struct AttentionFault {
  bool drop_first_key = false;
  bool drop_last_key = false;
  bool drop_last_tile = false;  ///< keys from the last multiple of 16 on
  bool one_key_too_far = false;
  bool top_left = false;  ///< off = 0
  bool wrong_kv_head = false;
  bool swapped_scales = false;  ///< k's for v's
  bool pages_in_order = false;  ///< the block table is not looked at
  bool no_scale = false;
  bool no_softcap = false;
  bool no_alibi = false;
  bool no_bias = false;
  bool no_allowed = false;
  bool no_sinks = false;
  bool bf16_sums = false;       ///< Q·Kᵀ and P·V accumulated in bf16
  bool missed_rescale = false;  ///< O of earlier blocks of 8 keys kept when the maximum grows
};

/// One query; `covered` is false for rows of q that belong to no sequence.
struct AttentionQuery {
  std::int64_t row = 0;  ///< of lse
  std::int64_t b = 0;
  std::int64_t head = 0;
  std::int64_t i = 0;
  bool covered = true;
};

/// Keys [first, first + count) of one sequence and KV head: exact codes and their scales.
struct AttentionKv {
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::vector<float> k;         ///< [count, d]
  std::vector<float> v;         ///< [count, d_v]
  std::vector<double> k_size;   ///< [count]: Σ|k|
  std::vector<double> k_scale;  ///< [count]
  std::vector<double> v_scale;  ///< [count]
};

/// The softmax of one query. Vectors are indexed alike, one entry per key that the row sees.
struct AttentionRow {
  std::vector<std::int64_t> key;  ///< ascending
  std::vector<double> s;          ///< logits after all terms
  std::vector<double> x;          ///< |scale|·|q|ᵀ|k|
  std::vector<double> z;          ///< |scale|·max|q|·Σ|k|
  std::vector<double> t;          ///< |logit| after softcap; 0 without
  std::vector<double> extra;      ///< |alibi| + |bias|
  std::vector<double> p;          ///< weights; with sink_p they sum to 1
  double sink = -std::numeric_limits<double>::infinity();
  double sink_p = 0;
  double m = -std::numeric_limits<double>::infinity();  ///< largest logit
  double l = 0;                                         ///< Σ exp(s − m); 0: no key
  double lse = -std::numeric_limits<double>::infinity();
  double max_product = 0;  ///< largest Σ|q||k| before scaling
  bool nan = false;        ///< a logit is NaN
  bool nan_q = false;
};

/// Operands of one problem with all look-ups done. Const member functions may be called from
/// several threads.
class AttentionOperands {
 public:
  AttentionOperands(const AttentionProblem& problem, std::span<const HostTensor> operands);

  [[nodiscard]] const AttentionProblem& problem() const { return p_; }
  [[nodiscard]] const AttentionSequence& sequence(std::int64_t b) const { return sequence_[b]; }
  /// Rows of o and lse, those of no sequence included.
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] AttentionQuery locate(std::int64_t row) const;
  /// Keys that masks and windows leave to the query (not `allowed`), under the fault.
  [[nodiscard]] KeyRange range(const AttentionQuery& query, const AttentionFault& fault) const;
  void load(std::int64_t b, std::int64_t head_kv, KeyRange range, const AttentionFault& fault,
            AttentionKv& kv) const;
  /// Logits and softmax of one query; `kv` holds at least the keys of `range`.
  void softmax(const AttentionQuery& query, const AttentionKv& kv, const AttentionFault& fault,
               AttentionRow& row) const;
  [[nodiscard]] std::int64_t kv_rows() const;
  [[nodiscard]] const AttentionTables& tables() const { return tables_; }
  [[nodiscard]] const Tensor& slot(AttentionSlot slot) const { return in_[slot]; }
  [[nodiscard]] std::span<const Tensor> slots() const { return in_; }

  /// Calls visit(query index, query, kv, row) for every query, grouped by KV head; `kv` and `row`
  /// are the worker's own. Queries of no sequence come with an empty row.
  template <typename Visit>
  void for_queries(std::vector<AttentionQuery> queries, int threads, const AttentionFault& fault,
                   const Visit& visit) const;

 private:
  void decode_q(const AttentionQuery& query, std::vector<double>& q) const;
  [[nodiscard]] std::int64_t kv_head_of(std::int64_t head, const AttentionFault& fault) const;

  AttentionProblem p_;
  std::vector<Tensor> in_;
  AttentionTables tables_;
  std::vector<AttentionSequence> sequence_;
  std::vector<AttentionSequence> in_order_;  ///< pages 0, 1, 2 … for a fault
  std::vector<std::int32_t> page_numbers_;
  AttentionBroadcast<float> bias_;
  AttentionBroadcast<std::uint8_t> allowed_;
  std::int64_t rows_ = 0;
};

/// Decodes `count` elements of a tensor from element `first` on, exactly, scales apart.
void decode_codes(const Tensor& tensor, std::int64_t first, std::int64_t count, float* out);

template <typename Visit>
void AttentionOperands::for_queries(std::vector<AttentionQuery> queries, int threads,
                                    const AttentionFault& fault, const Visit& visit) const {
  const auto head_of = [&](const AttentionQuery& q) { return kv_head_of(q.head, fault); };
  std::vector<std::size_t> order(queries.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const AttentionQuery& x = queries[a];
    const AttentionQuery& y = queries[b];
    return x.b != y.b ? x.b < y.b : head_of(x) < head_of(y);
  });
  const auto count = static_cast<std::int64_t>(order.size());
  parallel_rows(count, threads, [&](std::int64_t begin, std::int64_t end) {
    AttentionKv kv;
    AttentionRow row;
    for (std::int64_t at = begin; at < end;) {
      const AttentionQuery& first = queries[order[at]];
      KeyRange all{std::numeric_limits<std::int64_t>::max(), 0};
      std::int64_t last = at;
      for (; last < end; ++last) {
        const AttentionQuery& query = queries[order[last]];
        if (query.b != first.b || head_of(query) != head_of(first)) break;
        const KeyRange range = this->range(query, fault);
        if (range.size() == 0) continue;
        all = {std::min(all.lo, range.lo), std::max(all.hi, range.hi)};
      }
      if (all.hi < all.lo) all = {};
      load(first.b, head_of(first), all, fault, kv);
      for (; at < last; ++at) {
        const AttentionQuery& query = queries[order[at]];
        softmax(query, kv, fault, row);
        visit(static_cast<std::int64_t>(order[at]), query, kv, row);
      }
    }
  });
}

}  // namespace pareto
