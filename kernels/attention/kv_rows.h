// Where K and V of one sequence and KV head lie in the operands, and their scales.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/tensor.h"
#include "reference/attention.h"

namespace pareto {

/// Rows of slot k or v that belong to one sequence and KV head; key j's begin at element(j).
struct KvRows {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t width = 0;  ///< elements of a row in memory
  std::int64_t count = 0;  ///< of which these are used
  std::int64_t head_kv = 0;
  AttentionSequence sequence;

  [[nodiscard]] std::int64_t element(std::int64_t j) const {
    return sequence.kv_row(head_kv, j) * width;
  }
  /// Towards L1: rows lie apart, and the hardware follows only a few at once.
  void prefetch(const KeyRange& keys) const {
    constexpr std::int64_t kLineBytes = 64;
    const auto bytes = static_cast<std::int64_t>(size_of(dtype));
    for (std::int64_t j = keys.lo; j < keys.hi; ++j) {
      const std::byte* row = data + element(j) * bytes;
      for (std::int64_t at = 0; at < count * bytes; at += kLineBytes) {
        __builtin_prefetch(row + at);
      }
    }
  }
  static KvRows of_k(const AttentionProblem& p, std::span<const Tensor> in,
                     const AttentionSequence& sequence, std::int64_t head_kv);
  static KvRows of_v(const AttentionProblem& p, std::span<const Tensor> in,
                     const AttentionSequence& sequence, std::int64_t head_kv);
};

/// The operands of a cache without queries, which arrive later: where keys lie does not depend on
/// them.
class CacheOperands {
 public:
  CacheOperands(const AttentionProblem& p, std::span<const Tensor> in);
  // tables_ points into no_queries_.
  CacheOperands(const CacheOperands&) = delete;
  CacheOperands& operator=(const CacheOperands&) = delete;

  [[nodiscard]] AttentionSequence sequence(std::int64_t b) const {
    return AttentionSequence::of(p_, tables_, b);
  }

 private:
  AttentionProblem p_;
  AttentionTables tables_;
  std::vector<std::int32_t> no_queries_;
};

/// A copy of cu_seqlens_kv or seqlens_kv; empty in layout dense.
std::vector<std::int32_t> kv_lengths(std::span<const Tensor> in);

/// Scales of a whole head; 1 unless fp8.
struct KvHeadScales {
  float k = 1;
  float v = 1;

  static KvHeadScales of(const AttentionProblem& p, std::span<const Tensor> in, std::int64_t b,
                         std::int64_t head_kv);
};

/// int8's scales, indexed by AttentionSequence::kv_row; null for other types.
struct KvTokenScales {
  const float* k = nullptr;
  const float* v = nullptr;

  static KvTokenScales of(const AttentionProblem& p, std::span<const Tensor> in);
};

}  // namespace pareto
