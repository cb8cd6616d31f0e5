#include "tests/reference/attention_emulation.h"

#include <cmath>

#include "reference/attention_op.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float rounded(float value, DType dtype) {
  if (dtype == DType::kBf16) return static_cast<float>(from_bf16(to_bf16(value)));
  if (dtype == DType::kF16) return static_cast<float>(from_fp16(to_fp16(value)));
  return value;
}

// A row of codes times its scale, each value rounded once to fp32.
std::vector<float> values(const Tensor& codes, std::int64_t row, std::int64_t width,
                          std::int64_t count, float scale) {
  std::vector<float> result(count);
  decode_codes(codes, row * width, count, result.data());
  for (float& value : result) value *= scale;
  return result;
}

float scale_at(const Tensor& scales, std::int64_t at) {
  return scales.present() ? scales.as<float>()[at] : 1.0F;
}

}  // namespace

void EmulatedKernel::run_query(const AttentionOperands& all, const AttentionQuery& query,
                               const Tensor& o, const Tensor& lse) const {
  const AttentionProblem& p = all.problem();
  const AttentionSequence& s = all.sequence(query.b);
  const std::int64_t head_kv = p.heads_kv > 0 ? p.kv_head(query.head) : 0;
  const KeyRange keys = all.range(query, {});
  const auto q = values(
      all.slot(kAttentionQ), query.row, p.head_dim, p.head_dim,
      query.covered ? scale_at(all.slot(kAttentionQScale), q_scale_index(p, query.b, query.head))
                    : 1.0F);
  const auto bias = AttentionBroadcast<float>::of(all.slot(kAttentionBias));
  const auto allowed = AttentionBroadcast<std::uint8_t>::of(all.slot(kAttentionAllowed));
  const Tensor& v_slot = all.slot(p.has_v ? kAttentionV : kAttentionK);
  const Tensor& v_scale = all.slot(p.has_v ? kAttentionVScale : kAttentionKScale);
  float m = -kInfinity;
  float l = 0;
  std::vector<float> acc(p.head_dim_v, 0);
  for (std::int64_t begin = keys.lo; begin < keys.hi; begin += block) {
    std::vector<std::int64_t> rows;
    std::vector<float> logit;
    float block_max = m;
    bool nan = false;
    for (std::int64_t j = begin; j < std::min(keys.hi, begin + block); ++j) {
      if (allowed.data != nullptr &&
          allowed.row(query.b, query.head, query.i)[j * allowed.stride_j] == 0) {
        continue;
      }
      const std::int64_t row = s.kv_row(head_kv, j);
      const std::int64_t at = p.kv_dtype == DType::kS8 ? row : kv_scale_index(p, query.b, head_kv);
      const auto k = values(all.slot(kAttentionK), row, p.head_dim, p.head_dim,
                            scale_at(all.slot(kAttentionKScale), at));
      float dot = 0;
      for (std::int64_t c = 0; c < p.head_dim; ++c) dot = std::fma(q[c], k[c], dot);
      float x = dot * static_cast<float>(p.scale);
      const auto softcap = static_cast<float>(p.softcap);
      if (p.softcap > 0) x = softcap * std::tanh(x / softcap);
      if (p.has_alibi) {
        x -= all.slot(kAttentionAlibiSlopes).as<float>()[query.head] *
             static_cast<float>(alibi_distance(s, query.i, j));
      }
      if (bias.data != nullptr) x += bias.row(query.b, query.head, query.i)[j * bias.stride_j];
      rows.push_back(row);
      logit.push_back(x);
      nan = nan || std::isnan(x);
      block_max = std::max(block_max, x);
    }
    if (nan) block_max = std::numeric_limits<float>::quiet_NaN();
    if (block_max == -kInfinity) continue;
    const float factor = m == -kInfinity ? 0 : std::exp(m - block_max);
    l *= factor;
    for (float& value : acc) value *= factor;
    m = block_max;
    float block_sum = 0;  // light weights must not vanish one by one beside a heavy l
    for (std::size_t j = 0; j < rows.size(); ++j) {
      float weight = std::exp(logit[j] - m);
      weight = rounded(weight, p_dtype);
      block_sum += weight;
      const std::int64_t at =
          p.kv_dtype == DType::kS8 ? rows[j] : kv_scale_index(p, query.b, head_kv);
      const auto v = values(v_slot, rows[j], p.has_v ? p.head_dim_v : p.head_dim, p.head_dim_v,
                            scale_at(v_scale, at));
      for (std::int64_t c = 0; c < p.head_dim_v; ++c) {
        acc[c] = std::fma(weight, v[c], acc[c]);
        if (bf16_accumulator) acc[c] = rounded(acc[c], DType::kBf16);
      }
    }
    l += block_sum;
  }
  if (p.has_sinks && query.covered) {
    const float sink = all.slot(kAttentionSinks).as<float>()[query.head];
    const float top = std::isnan(m) ? m : std::max(m, sink);
    const float factor = m == -kInfinity ? 0 : std::exp(m - top);
    l = l * factor + (sink == -kInfinity ? 0 : std::exp(sink - top));
    for (float& value : acc) value *= factor;
    m = top;
  }
  const bool empty = m == -kInfinity;
  for (std::int64_t c = 0; c < p.head_dim_v; ++c) {
    store_rounded(o, query.row * p.head_dim_v + c, empty ? 0 : acc[c] / l);
  }
  lse.as<float>()[query.row] = empty ? -kInfinity : m + std::log(l);
}

Outputs EmulatedKernel::run(const Problem& problem, const Operands& operands) const {
  const AttentionOperands all(AttentionProblem::from(problem), operands);
  Outputs outputs;
  for (const OutputSpec& spec : attention_outputs(problem, operands)) {
    outputs.emplace_back(spec.dtype, spec.shape);
  }
  for (std::int64_t row = 0; row < all.rows(); ++row) {
    run_query(all, all.locate(row), outputs[kAttentionO].view(), outputs[kAttentionLse].view());
  }
  return outputs;
}

}  // namespace pareto
