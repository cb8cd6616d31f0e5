#include "kernels/attention/kv_rows.h"

namespace pareto {

KvRows KvRows::of_k(const AttentionProblem& p, std::span<const Tensor> in,
                    const AttentionSequence& sequence, std::int64_t head_kv) {
  return {in[kAttentionK].data, p.kv_dtype, p.head_dim, p.head_dim, head_kv, sequence};
}

KvRows KvRows::of_v(const AttentionProblem& p, std::span<const Tensor> in,
                    const AttentionSequence& sequence, std::int64_t head_kv) {
  const Tensor& v = p.has_v ? in[kAttentionV] : in[kAttentionK];
  const std::int64_t width = p.has_v ? p.head_dim_v : p.head_dim;
  return {v.data, p.kv_dtype, width, p.head_dim_v, head_kv, sequence};
}

CacheOperands::CacheOperands(const AttentionProblem& p, std::span<const Tensor> in)
    : p_(p),
      tables_(AttentionTables::from(in)),
      no_queries_(static_cast<std::size_t>(p.batch) + 1) {
  if (p.layout == AttentionLayout::kPagedRagged) p_.layout = AttentionLayout::kPaged;
  if (p_.ragged_q()) tables_.cu_seqlens_q = no_queries_.data();
}

std::vector<std::int32_t> kv_lengths(std::span<const Tensor> in) {
  std::vector<std::int32_t> lengths;
  for (const AttentionSlot slot : {kAttentionCuSeqlensKv, kAttentionSeqlensKv}) {
    const std::span<const std::int32_t> table = in[slot].span<const std::int32_t>();
    lengths.insert(lengths.end(), table.begin(), table.end());
  }
  return lengths;
}

KvHeadScales KvHeadScales::of(const AttentionProblem& p, std::span<const Tensor> in, std::int64_t b,
                              std::int64_t head_kv) {
  if (p.kv_dtype != DType::kE4m3) return {};
  const std::int64_t at = kv_scale_index(p, b, head_kv);
  const float k = in[kAttentionKScale].as<const float>()[at];
  return {k, p.has_v ? in[kAttentionVScale].as<const float>()[at] : k};
}

KvTokenScales KvTokenScales::of(const AttentionProblem& p, std::span<const Tensor> in) {
  if (p.kv_dtype != DType::kS8) return {};
  const auto* k = in[kAttentionKScale].as<const float>();
  return {k, p.has_v ? in[kAttentionVScale].as<const float>() : k};
}

}  // namespace pareto
