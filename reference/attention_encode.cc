// From original tensors to operands: rounding, fp8 and int8 codes with scales over seen keys.
#include <fmt/format.h>

#include <cmath>

#include "harness/errors.h"
#include "reference/attention_op.h"
#include "reference/number_formats.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

constexpr double kE4m3Max = 448;
constexpr double kS8Max = 127;

const HostTensor* find(const TensorMap& inputs, const std::string& name) {
  const auto at = inputs.find(name);
  return at == inputs.end() ? nullptr : &at->second;
}

/// Rank 4 with leading ones.
HostTensor broadcastable(const HostTensor& source) {
  std::int64_t extent[4] = {1, 1, 1, 1};
  const int rank = source.shape().rank();
  for (int axis = 0; axis < rank; ++axis) extent[4 - rank + axis] = source.shape()[axis];
  HostTensor result(source.dtype(), {extent[0], extent[1], extent[2], extent[3]});
  std::copy_n(source.view().data, source.view().bytes(), result.view().data);
  return result;
}

[[noreturn]] void refuse(const char* name, const std::string& key, std::int64_t row,
                         std::int64_t column, float value) {
  throw InputError(
      fmt::format("{}: row {} column {} is {}, but {} needs finite values wherever a "
                  "query looks",
                  name, row, column, value, key));
}

void require_finite(const char* name, const std::string& key, std::span<const float> values,
                    std::int64_t row) {
  for (std::size_t c = 0; c < values.size(); ++c) {
    if (!std::isfinite(values[c])) {
      refuse(name, key, row, static_cast<std::int64_t>(c), values[c]);
    }
  }
}

/// One tensor's codes and scales in the making.
struct Coded {
  HostTensor codes;
  HostTensor scales;
};

class Encoder {
 public:
  Encoder(const Problem& problem, const TensorMap& inputs)
      : p_(AttentionProblem::from(problem)), inputs_(inputs), operands_(kAttentionSlotCount) {
    for (const auto& [slot, name] : {std::pair{kAttentionAlibiSlopes, "alibi_slopes"},
                                     {kAttentionSinks, "sinks"},
                                     {kAttentionCuSeqlensQ, "cu_seqlens_q"},
                                     {kAttentionCuSeqlensKv, "cu_seqlens_kv"},
                                     {kAttentionBlockTable, "block_table"},
                                     {kAttentionSeqlensKv, "seqlens_kv"}}) {
      if (const HostTensor* tensor = find(inputs, name)) operands_[slot] = *tensor;
    }
    for (const auto& [slot, name] :
         {std::pair{kAttentionBias, "bias"}, {kAttentionAllowed, "allowed"}}) {
      if (const HostTensor* tensor = find(inputs, name)) operands_[slot] = broadcastable(*tensor);
    }
    std::vector<Tensor> views;
    for (const HostTensor& operand : operands_) views.push_back(operand.view());
    tables_ = AttentionTables::from(views);
    for (std::int64_t b = 0; b < p_.batch; ++b) {
      sequence_.push_back(AttentionSequence::of(p_, tables_, b));
    }
  }

  Operands run() {
    const HostTensor& q = inputs_.at("q");
    if (p_.q_dtype == DType::kE4m3) {
      Coded coded = code_q(q);
      operands_[kAttentionQ] = std::move(coded.codes);
      operands_[kAttentionQScale] = std::move(coded.scales);
    } else {
      operands_[kAttentionQ] = rounded_tensor(q.span<float>(), q.shape(), p_.q_dtype);
    }
    encode_kv("k", kAttentionK, kAttentionKScale);
    if (p_.has_v) encode_kv("v", kAttentionV, kAttentionVScale);
    return std::move(operands_);
  }

 private:
  Coded code_q(const HostTensor& q) const {
    const std::string key = "dtype = fp8_e4m3";
    Coded coded{HostTensor(DType::kE4m3, q.shape()),
                HostTensor(DType::kF32, {p_.batch, p_.heads_q})};
    const std::span<const float> values = q.span<float>();
    const auto row_of = [&](std::int64_t row) {
      return values.subspan(row * p_.head_dim, p_.head_dim);
    };
    for (const AttentionSequence& s : sequence_) {
      for (std::int64_t head = 0; head < p_.heads_q; ++head) {
        float amax = 0;
        for (std::int64_t i = 0; i < s.seq_q; ++i) {
          const std::int64_t row = s.q_row(head, i);
          require_finite("q", key, row_of(row), row);
          amax = std::max(amax, amax_of(row_of(row)));
        }
        const float scale = scale_of(amax, kE4m3Max);
        coded.scales.span<float>()[q_scale_index(p_, s.b, head)] = scale;
        for (std::int64_t i = 0; i < s.seq_q; ++i) {
          const std::int64_t row = s.q_row(head, i);
          quantize_fp8(row_of(row), scale, DType::kE4m3,
                       coded.codes.span<std::uint8_t>().data() + row * p_.head_dim);
        }
      }
    }
    return coded;
  }

  void encode_kv(const char* name, AttentionSlot slot, AttentionSlot scale_slot) {
    const HostTensor& source = inputs_.at(name);
    if (p_.kv_dtype != DType::kE4m3 && p_.kv_dtype != DType::kS8) {
      operands_[slot] = rounded_tensor(source.span<float>(), source.shape(), p_.kv_dtype);
      return;
    }
    const int rank = source.shape().rank();
    const std::int64_t width = source.shape()[rank - 1];
    const std::int64_t rows = rows_before_last(source.shape());
    if (seen_.empty()) {
      seen_ = attention_seen_rows(p_, tables_, operands_[kAttentionAllowed].view(), rows);
    }
    Coded coded = p_.kv_dtype == DType::kS8 ? code_s8(name, source, width, rows)
                                            : code_e4m3(name, source, width);
    operands_[slot] = std::move(coded.codes);
    operands_[scale_slot] = std::move(coded.scales);
  }

  static std::int64_t rows_before_last(const Shape& shape) {
    std::int64_t rows = 1;
    for (int axis = 0; axis + 1 < shape.rank(); ++axis) rows *= shape[axis];
    return rows;
  }

  static Shape without_last(const Shape& shape) {
    std::int64_t extent[4] = {};
    for (int axis = 0; axis + 1 < shape.rank(); ++axis) extent[axis] = shape[axis];
    return Shape(std::span<const std::int64_t>(extent, shape.rank() - 1));
  }

  Coded code_s8(const char* name, const HostTensor& source, std::int64_t width,
                std::int64_t rows) const {
    Coded coded{HostTensor(DType::kS8, source.shape()),
                HostTensor(DType::kF32, without_last(source.shape()))};
    for (std::int64_t row = 0; row < rows; ++row) {
      float& scale = coded.scales.span<float>()[row];
      scale = 1;
      if (seen_[row] == 0) continue;
      const std::span<const float> values = source.span<float>().subspan(row * width, width);
      require_finite(name, "kv_dtype = int8", values, row);
      scale = scale_of(amax_of(values), kS8Max);
      quantize_s8(values, scale, coded.codes.span<std::int8_t>().data() + row * width);
    }
    return coded;
  }

  Coded code_e4m3(const char* name, const HostTensor& source, std::int64_t width) const {
    Coded coded{HostTensor(DType::kE4m3, source.shape()),
                p_.paged() ? HostTensor(DType::kF32, {p_.heads_kv})
                           : HostTensor(DType::kF32, {p_.batch, p_.heads_kv})};
    const std::span<float> scales = coded.scales.span<float>();
    const auto values_of = [&](std::int64_t row) {
      return source.span<float>().subspan(row * width, width);
    };
    for_seen_rows([&](std::int64_t row, std::int64_t scale) {
      require_finite(name, "fp8_e4m3", values_of(row), row);
      scales[scale] = std::max(scales[scale], amax_of(values_of(row)));
    });
    for (float& scale : scales) scale = scale_of(scale, kE4m3Max);
    for_seen_rows([&](std::int64_t row, std::int64_t scale) {
      quantize_fp8(values_of(row), scales[scale], DType::kE4m3,
                   coded.codes.span<std::uint8_t>().data() + row * width);
    });
    return coded;
  }

  template <typename Body>
  void for_seen_rows(const Body& body) const {
    for (const AttentionSequence& s : sequence_) {
      for (std::int64_t head = 0; head < p_.heads_kv; ++head) {
        for (std::int64_t j = 0; j < s.seq_kv; ++j) {
          const std::int64_t row = s.kv_row(head, j);
          if (seen_[row] != 0) body(row, kv_scale_index(p_, s.b, head));
        }
      }
    }
  }

  AttentionProblem p_;
  const TensorMap& inputs_;
  Operands operands_;
  AttentionTables tables_;
  std::vector<AttentionSequence> sequence_;
  std::vector<std::uint8_t> seen_;
};

/// Marks the keys that query (head, i) sees.
void mark_seen(const AttentionProblem& p, const AttentionSequence& s,
               const AttentionBroadcast<std::uint8_t>& allowed, std::int64_t head, std::int64_t i,
               std::vector<std::uint8_t>& seen) {
  const KeyRange keys = p.visible(i, s.seq_q, s.seq_kv);
  const std::uint8_t* row = allowed.data != nullptr ? allowed.row(s.b, head, i) : nullptr;
  for (std::int64_t j = keys.lo; j < keys.hi; ++j) {
    if (row == nullptr || row[j * allowed.stride_j] != 0) seen[s.kv_row(p.kv_head(head), j)] = 1;
  }
}

/// Without `allowed`, masks leave neighbouring queries overlapping or adjoining ranges: each query
/// marks only what the one before did not.
void mark_ranges(const AttentionProblem& p, const AttentionSequence& s, std::int64_t head_kv,
                 std::vector<std::uint8_t>& seen) {
  std::int64_t done = 0;
  for (std::int64_t i = 0; i < s.seq_q; ++i) {
    const KeyRange keys = p.visible(i, s.seq_q, s.seq_kv);
    for (std::int64_t j = std::max(done, keys.lo); j < keys.hi; ++j) seen[s.kv_row(head_kv, j)] = 1;
    done = std::max(done, keys.hi);
  }
}

}  // namespace

std::vector<std::uint8_t> attention_seen_rows(const AttentionProblem& p, const AttentionTables& t,
                                              const Tensor& allowed, std::int64_t kv_rows) {
  std::vector<std::uint8_t> seen(static_cast<std::size_t>(kv_rows));
  const auto filter = AttentionBroadcast<std::uint8_t>::of(allowed);
  if (p.heads_q == 0) return seen;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const AttentionSequence s = AttentionSequence::of(p, t, b);
    if (filter.data == nullptr) {
      for (std::int64_t head = 0; head < p.heads_kv; ++head) mark_ranges(p, s, head, seen);
      continue;
    }
    for (std::int64_t head = 0; head < p.heads_q; ++head) {
      for (std::int64_t i = 0; i < s.seq_q; ++i) mark_seen(p, s, filter, head, i, seen);
    }
  }
  return seen;
}

Operands attention_encode(const Problem& problem, const TensorMap& inputs) {
  return Encoder(problem, inputs).run();
}

}  // namespace pareto
