#include "kernels/attention/task_rows.h"

#include <algorithm>
#include <cstddef>
#include <limits>

namespace pareto {

void AttentionCall::store_empty(std::int64_t row, std::int64_t head_dim_v) const {
  lse.as<float>()[row] = -std::numeric_limits<float>::infinity();
  const std::int64_t bytes = head_dim_v * static_cast<std::int64_t>(size_of(o.dtype));
  std::fill_n(o.data + row * bytes, bytes, std::byte{0});
}

LogitTerms terms_of_query(const AttentionProblem& problem, const AttentionCall& call,
                          const AttentionSequence& s, std::int64_t head, std::int64_t query,
                          float k_head_scale) {
  constexpr double kLog2E = 1.44269504088896341;
  LogitTerms terms;
  double factor = problem.scale * k_head_scale;
  if (problem.q_dtype == DType::kE4m3) {
    factor *= call.in[kAttentionQScale].as<float>()[q_scale_index(problem, s.b, head)];
  }
  factor *= problem.softcap > 0 ? 1 / problem.softcap : kLog2E;
  terms.factor = static_cast<float>(factor);
  terms.cap = static_cast<float>(problem.softcap * kLog2E);
  if (call.slopes != nullptr) terms.slope = static_cast<float>(call.slopes[head] * kLog2E);
  terms.position = query + s.offset;
  if (call.bias.data != nullptr) {
    terms.bias = call.bias.row(s.b, head, query);
    terms.bias_stride = call.bias.stride_j;
  }
  if (call.allowed.data != nullptr) {
    terms.allowed = call.allowed.row(s.b, head, query);
    terms.allowed_stride = call.allowed.stride_j;
  }
  terms.range = problem.visible(query, s.seq_q, s.seq_kv);
  return terms;
}

}  // namespace pareto
