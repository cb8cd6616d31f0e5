#include "reference/attention_rows.h"

#include <array>
#include <cmath>

#include "reference/number_formats.h"

namespace pareto {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kDroppedTile = 16;

/// Every code of E4M3, decoded.
const std::array<float, 256>& e4m3_table() {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> values{};
    for (int code = 0; code < 256; ++code) {
      values[code] = static_cast<float>(from_e4m3(static_cast<std::uint8_t>(code)));
    }
    return values;
  }();
  return table;
}

std::vector<Tensor> views_of_slots(std::span<const HostTensor> operands) {
  std::vector<Tensor> views;
  views.reserve(operands.size());
  for (const HostTensor& operand : operands) views.push_back(operand.view());
  return views;
}

double rounded_to_bf16(double value) { return from_bf16(to_bf16(value)); }

struct Dot {
  double sum = 0;
  double magnitude = 0;  ///< of |products|
};

Dot dot(const double* q, const float* k, std::int64_t count, bool bf16_sums) {
  Dot result;
  for (std::int64_t c = 0; c < count; ++c) {
    const double product = q[c] * k[c];
    result.sum += product;
    if (bf16_sums) result.sum = rounded_to_bf16(result.sum);
    result.magnitude += std::abs(product);
  }
  return result;
}

void clear(AttentionRow& row) {
  row.key.clear();
  row.s.clear();
  row.x.clear();
  row.z.clear();
  row.t.clear();
  row.extra.clear();
  row.p.clear();
  row.sink = row.m = row.lse = -kInfinity;
  row.sink_p = row.l = row.max_product = 0;
  row.nan = row.nan_q = false;
}

// Weights from logits. Logits of −∞ have weight 0; if all are, the row has no key.
void normalize(AttentionRow& row) {
  double largest = -kInfinity;
  row.nan = std::isnan(row.sink);
  for (const double s : row.s) {
    row.nan = row.nan || std::isnan(s);
    largest = std::max(largest, s);
  }
  row.m = std::max(row.sink, largest);
  if (row.nan) {
    row.m = row.l = row.lse = std::numeric_limits<double>::quiet_NaN();
    row.p.assign(row.s.size(), row.lse);
    return;
  }
  if (row.m == -kInfinity) {
    row.p.assign(row.s.size(), 0);
    return;
  }
  if (row.m == kInfinity) {  // ∞ − ∞ for the weights; the sum itself is infinite
    row.l = row.lse = kInfinity;
    // Beside no key, such a sink is a sink like any other.
    row.p.assign(row.s.size(),
                 largest == -kInfinity ? 0 : std::numeric_limits<double>::quiet_NaN());
    return;
  }
  row.sink_p = std::exp(row.sink - row.m);
  row.l = row.sink_p;
  for (const double s : row.s) {
    row.p.push_back(std::exp(s - row.m));
    row.l += row.p.back();
  }
  for (double& p : row.p) p /= row.l;
  row.sink_p /= row.l;
  row.lse = row.m + std::log(row.l);
}

}  // namespace

void decode_codes(const Tensor& tensor, std::int64_t first, std::int64_t count, float* out) {
  switch (tensor.dtype) {
    case DType::kF32:
      std::copy_n(tensor.as<float>() + first, count, out);
      return;
    case DType::kS8:
      std::copy_n(tensor.as<std::int8_t>() + first, count, out);
      return;
    case DType::kE4m3:
      for (std::int64_t i = 0; i < count; ++i) {
        out[i] = e4m3_table()[tensor.as<std::uint8_t>()[first + i]];
      }
      return;
    case DType::kBf16:
      for (std::int64_t i = 0; i < count; ++i) {
        out[i] = static_cast<float>(from_bf16(tensor.as<std::uint16_t>()[first + i]));
      }
      return;
    default:
      for (std::int64_t i = 0; i < count; ++i) {
        out[i] = static_cast<float>(value_at(tensor, first + i));
      }
  }
}

AttentionOperands::AttentionOperands(const AttentionProblem& problem,
                                     std::span<const HostTensor> operands)
    : p_(problem),
      in_(views_of_slots(operands)),
      tables_(AttentionTables::from(in_)),
      bias_(AttentionBroadcast<float>::of(in_[kAttentionBias])),
      allowed_(AttentionBroadcast<std::uint8_t>::of(in_[kAttentionAllowed])) {
  for (std::int64_t page = 0; page < tables_.max_pages; ++page) {
    page_numbers_.push_back(static_cast<std::int32_t>(page));
  }
  for (std::int64_t b = 0; b < p_.batch; ++b) {
    sequence_.push_back(AttentionSequence::of(p_, tables_, b));
    in_order_.push_back(sequence_.back());
    if (p_.paged()) in_order_.back().pages = page_numbers_.data();
  }
  const Shape& q = in_[kAttentionQ].shape;
  rows_ = p_.ragged_q() ? q[0] * q[1] : q[0] * q[1] * q[2];
}

std::int64_t AttentionOperands::kv_rows() const {
  return in_[kAttentionK].elements() / p_.head_dim;
}

AttentionQuery AttentionOperands::locate(std::int64_t row) const {
  AttentionQuery query{.row = row};
  if (!p_.ragged_q()) {
    query.i = row % p_.seq_q;
    query.head = row / p_.seq_q % p_.heads_q;
    query.b = row / p_.seq_q / p_.heads_q;
    return query;
  }
  const std::int64_t token = row / p_.heads_q;
  query.head = row % p_.heads_q;
  const std::int32_t* ends = tables_.cu_seqlens_q + 1;
  query.b = std::upper_bound(ends, ends + p_.batch, token) - ends;
  query.covered = query.b < p_.batch;
  if (query.covered) query.i = token - tables_.cu_seqlens_q[query.b];
  if (!query.covered) query.b = 0;
  return query;
}

std::int64_t AttentionOperands::kv_head_of(std::int64_t head, const AttentionFault& fault) const {
  if (p_.heads_kv == 0) return 0;
  return (p_.kv_head(head) + (fault.wrong_kv_head ? 1 : 0)) % p_.heads_kv;
}

KeyRange AttentionOperands::range(const AttentionQuery& query, const AttentionFault& fault) const {
  if (!query.covered) return {};
  const AttentionSequence& s = sequence_[query.b];
  const std::int64_t i = fault.top_left ? query.i - s.offset : query.i;
  KeyRange range = p_.visible(i, s.seq_q, s.seq_kv);
  if (fault.one_key_too_far) {
    if (range.hi < s.seq_kv) ++range.hi;
    if (range.lo > 0) --range.lo;
  }
  if (range.size() > 0 && fault.drop_first_key) ++range.lo;
  if (range.size() > 0 && fault.drop_last_key) --range.hi;
  if (range.size() > 0 && fault.drop_last_tile) {
    range.hi = std::max(range.lo, (range.hi - 1) / kDroppedTile * kDroppedTile);
  }
  return range;
}

void AttentionOperands::load(std::int64_t b, std::int64_t head_kv, KeyRange range,
                             const AttentionFault& fault, AttentionKv& kv) const {
  kv.first = range.lo;
  kv.count = range.size();
  kv.k.resize(kv.count * p_.head_dim);
  kv.v.resize(kv.count * p_.head_dim_v);
  kv.k_size.assign(kv.count, 0);
  kv.k_scale.assign(kv.count, 1);
  kv.v_scale.assign(kv.count, 1);
  if (kv.count == 0) return;
  const AttentionSequence& s = (fault.pages_in_order ? in_order_ : sequence_)[b];
  const Tensor& v = p_.has_v ? in_[kAttentionV] : in_[kAttentionK];
  const std::int64_t v_width = p_.has_v ? p_.head_dim_v : p_.head_dim;
  const Tensor* k_scale = &in_[kAttentionKScale];
  const Tensor* v_scale = p_.has_v ? &in_[kAttentionVScale] : k_scale;
  if (fault.swapped_scales) std::swap(k_scale, v_scale);
  for (std::int64_t j = 0; j < kv.count; ++j) {
    const std::int64_t row = s.kv_row(head_kv, range.lo + j);
    decode_codes(in_[kAttentionK], row * p_.head_dim, p_.head_dim, &kv.k[j * p_.head_dim]);
    for (std::int64_t c = 0; c < p_.head_dim; ++c) {
      kv.k_size[j] += std::abs(kv.k[j * p_.head_dim + c]);
    }
    if (p_.head_dim_v > 0) {
      decode_codes(v, row * v_width, p_.head_dim_v, &kv.v[j * p_.head_dim_v]);
    }
    if (!k_scale->present()) continue;
    const std::int64_t at = p_.kv_dtype == DType::kS8 ? row : kv_scale_index(p_, b, head_kv);
    kv.k_scale[j] = k_scale->as<float>()[at];
    kv.v_scale[j] = v_scale->as<float>()[at];
  }
}

void AttentionOperands::decode_q(const AttentionQuery& query, std::vector<double>& q) const {
  std::vector<float> codes(p_.head_dim);
  decode_codes(in_[kAttentionQ], query.row * p_.head_dim, p_.head_dim, codes.data());
  const Tensor& scales = in_[kAttentionQScale];
  const double scale =
      scales.present() ? scales.as<float>()[q_scale_index(p_, query.b, query.head)] : 1.0;
  q.resize(p_.head_dim);
  for (std::int64_t c = 0; c < p_.head_dim; ++c) q[c] = codes[c] * scale;
}

void AttentionOperands::softmax(const AttentionQuery& query, const AttentionKv& kv,
                                const AttentionFault& fault, AttentionRow& row) const {
  clear(row);
  if (!query.covered) return;
  std::vector<double> q;
  decode_q(query, q);
  double largest_q = 0;
  for (const double value : q) {
    row.nan_q = row.nan_q || std::isnan(value);
    largest_q = std::max(largest_q, std::abs(value));
  }
  AttentionSequence s = sequence_[query.b];
  if (fault.top_left) s.offset = 0;
  const double scale = fault.no_scale ? 1 : p_.scale;
  const double softcap = fault.no_softcap ? 0 : p_.softcap;
  const double slope =
      p_.has_alibi && !fault.no_alibi ? in_[kAttentionAlibiSlopes].as<float>()[query.head] : 0.0;
  const bool biased = bias_.data != nullptr && !fault.no_bias;
  const bool filtered = allowed_.data != nullptr && !fault.no_allowed;
  const KeyRange keys = range(query, fault);
  for (std::int64_t j = keys.lo; j < keys.hi; ++j) {
    if (filtered && allowed_.row(query.b, query.head, query.i)[j * allowed_.stride_j] == 0) {
      continue;
    }
    const std::int64_t at = j - kv.first;
    const Dot product = dot(q.data(), &kv.k[at * p_.head_dim], p_.head_dim, fault.bf16_sums);
    double logit = scale * (product.sum * kv.k_scale[at]);
    double capped = 0;
    if (softcap > 0) {
      logit = softcap * std::tanh(logit / softcap);
      capped = std::abs(logit);
    }
    double extra = 0;
    if (p_.has_alibi && !fault.no_alibi) {
      const double term = slope * static_cast<double>(alibi_distance(s, query.i, j));
      logit -= term;
      extra += std::abs(term);
    }
    if (biased) {
      const double term = bias_.row(query.b, query.head, query.i)[j * bias_.stride_j];
      logit += term;
      extra += std::abs(term);
    }
    row.key.push_back(j);
    row.s.push_back(logit);
    const double size = product.magnitude * std::abs(kv.k_scale[at]);
    row.x.push_back(std::abs(scale) * size);
    row.z.push_back(std::abs(scale * kv.k_scale[at]) * largest_q * kv.k_size[at]);
    row.t.push_back(capped);
    row.extra.push_back(extra);
    row.max_product = std::max(row.max_product, size);
  }
  if (p_.has_sinks && !fault.no_sinks) {
    row.sink = in_[kAttentionSinks].as<float>()[query.head];
  }
  normalize(row);
}

}  // namespace pareto
