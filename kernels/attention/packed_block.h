// One block of keys of a prefill, packed by the thread that visits it.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "harness/aligned_buffer.h"
#include "kernels/attention/kv_rows.h"
#include "reference/attention.h"

namespace pareto {

/// A source of blocks (block_softmax.h); one per thread. K [panels][steps][k_stride keys], V
/// [panels of columns] [keys / pair][panel columns], in the dwords of register_tiles.h; zeros stand
/// beyond head_dim and head_dim_v, and beyond the last key as far as tiles read V.
template <typename T>
class PackedBlock {
 public:
  /// `k_stride`: a panel's keys, or fewer if all keys fit.
  PackedBlock(const AttentionProblem& p, std::int64_t block_keys, std::int64_t k_stride)
      : steps_(T::steps(p.head_dim)),
        k_stride_(k_stride),
        v_panels_((p.head_dim_v + T::kPanel - 1) / T::kPanel),
        v_stride_(v_keys(p, block_keys) / T::kPair * T::kPanel),
        k_(block_keys * steps_),
        v_(v_panels_ * v_stride_),
        non_finite_(block_keys / T::kPanel) {
    if (p.kv_dtype != DType::kS8) return;
    k_scale_ = AlignedBuffer<float>(block_keys);
    v_scale_ = AlignedBuffer<float>(block_keys);
  }

  void pack(const AttentionProblem& p, std::span<const Tensor> in,
            const AttentionSequence& sequence, std::int64_t head_kv, const KeyRange& keys) {
    keys_ = keys;
    const KvRows k = KvRows::of_k(p, in, sequence, head_kv);
    const KvRows v = KvRows::of_v(p, in, sequence, head_kv);
    for (std::int64_t at = 0; at < keys.size(); at += T::kPanel) {
      const KeyRange panel{keys.lo + at, std::min(keys.lo + at + T::kPanel, keys.hi)};
      const KeyRange next{panel.hi, std::min(panel.hi + T::kPanel, keys.hi)};
      k.prefetch(next);
      v.prefetch(next);
      T::pack_k(k, panel, steps_, k_stride_, k_.data() + at * steps_);
      const bool odd =
          T::pack_v(v, panel, v_panels_, v_stride_, v_.data() + at / T::kPair * T::kPanel);
      non_finite_[at / T::kPanel] = odd ? 1 : 0;
    }
    if (k_scale_.size() == 0) return;
    const KvTokenScales scales = KvTokenScales::of(p, in);
    for (std::int64_t j = keys.lo; j < keys.hi; ++j) {
      k_scale_[j - keys.lo] = scales.k[sequence.kv_row(head_kv, j)];
      v_scale_[j - keys.lo] = scales.v[sequence.kv_row(head_kv, j)];
    }
  }

  [[nodiscard]] const KeyRange& keys() const { return keys_; }
  [[nodiscard]] std::int64_t k_stride() const { return k_stride_; }
  [[nodiscard]] const std::uint32_t* k_panel(std::int64_t i) const {
    return k_.data() + i * T::kPanel * steps_;
  }
  [[nodiscard]] const std::uint32_t* v_panel(std::int64_t i) const {
    return v_.data() + i * v_stride_;
  }
  [[nodiscard]] const float* k_scale() const { return k_scale_.data(); }
  [[nodiscard]] const float* v_scale() const { return v_scale_.data(); }
  [[nodiscard]] const std::uint8_t* non_finite() const { return non_finite_.data(); }

 private:
  // Panels of columns lie close to one another if the keys are few.
  static std::int64_t v_keys(const AttentionProblem& p, std::int64_t block_keys) {
    return std::min(block_keys, (p.seq_kv + T::kPanel - 1) / T::kPanel * T::kPanel);
  }

  std::int64_t steps_;
  std::int64_t k_stride_;
  std::int64_t v_panels_;
  std::int64_t v_stride_;  ///< dwords from one panel of columns to the next
  KeyRange keys_;
  AlignedBuffer<std::uint32_t> k_;
  AlignedBuffer<std::uint32_t> v_;
  AlignedBuffer<float> k_scale_;  ///< int8 only
  AlignedBuffer<float> v_scale_;
  AlignedBuffer<std::uint8_t> non_finite_;
};

}  // namespace pareto
