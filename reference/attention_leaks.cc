#include "reference/attention_leaks.h"

#include <cmath>

namespace pareto {

LeakyColumns::LeakyColumns(const AttentionOperands& operands) : p_(operands.problem()) {
  const Tensor& v = operands.slot(p_.has_v ? kAttentionV : kAttentionK);
  bool any = false;
  for (std::int64_t i = 0; i < v.elements() && !any; ++i) any = !std::isfinite(value_at(v, i));
  if (!any) return;
  const std::vector<std::uint8_t> seen = attention_seen_rows(
      p_, operands.tables(), operands.slot(kAttentionAllowed), operands.kv_rows());
  leaky_.resize(p_.batch * p_.heads_kv * p_.head_dim_v);
  for (std::int64_t b = 0; b < p_.batch; ++b) {
    for (std::int64_t head = 0; head < p_.heads_kv; ++head) {
      mark(operands.sequence(b), head, v, seen);
    }
  }
}

bool LeakyColumns::leaks(const AttentionQuery& query, std::int64_t column) const {
  if (leaky_.empty()) return false;
  return leaky_[(query.b * p_.heads_kv + p_.kv_head(query.head)) * p_.head_dim_v + column] != 0;
}

void LeakyColumns::mark(const AttentionSequence& s, std::int64_t head, const Tensor& v,
                        std::span<const std::uint8_t> seen) {
  const std::int64_t width = p_.has_v ? p_.head_dim_v : p_.head_dim;
  std::uint8_t* leaky = &leaky_[(s.b * p_.heads_kv + head) * p_.head_dim_v];
  for (std::int64_t j = 0; j < s.seq_kv; ++j) {
    const std::int64_t row = s.kv_row(head, j);
    if (seen[row] == 0) continue;
    for (std::int64_t c = 0; c < p_.head_dim_v; ++c) {
      if (!std::isfinite(value_at(v, row * width + c))) leaky[c] = 1;
    }
  }
}

}  // namespace pareto
