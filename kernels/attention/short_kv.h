// K and V of one sequence and KV head with few keys, as register_tiles.h reads them.
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

/// K in panels of keys, each [steps][k_stride keys], or, narrow, every kLanes steps of 1, 2 or 4
/// keys in as many registers, keys fastest; V in panels of columns, each [keys / pair][v_stride],
/// whose rows are whole registers. Words of the products.
template <typename T>
struct ShortKv {
  const std::uint32_t* k = nullptr;
  std::int64_t k_stride = 0;  ///< of a narrow one its keys
  const std::uint32_t* v = nullptr;
  std::int64_t v_stride = 0;  ///< dwords from one step to the next
  std::int64_t v_panel = 0;   ///< dwords from one panel of columns to the next
  /// A value that some row may not see is not finite.
  bool non_finite = false;
  KvHeadScales scales;

  /// Of the words of v: key j, column c.
  [[nodiscard]] float value(std::int64_t j, std::int64_t c) const {
    const std::uint32_t* step = v + c / T::kPanel * v_panel + j / T::kPair * v_stride;
    return T::word_at(step, c % T::kPanel * T::kPair + j % T::kPair);
  }
};

/// Room for some of them. V stays where it lies if the products can read it there. A cache of up to
/// 4 keys is narrow: padded to a register per step, some heads of it would not fit L1.
template <typename T>
class ShortKvSpace {
 public:
  ShortKvSpace(const AttentionProblem& p, std::int64_t count)
      : steps_(T::steps(p.head_dim)),
        k_stride_(std::clamp<std::int64_t>((p.seq_kv + T::kLanes - 1) / T::kLanes * T::kLanes,
                                           T::kLanes, T::kPanel)),
        narrow_(is_narrow(p) ? narrow_keys(p.seq_kv) : 0),
        k_size_(narrow_ > 0 ? (steps_ + T::kLanes - 1) / T::kLanes * T::kLanes * narrow_
                            : k_panels(p) * steps_ * k_stride_),
        v_panels_((p.head_dim_v + T::kPanel - 1) / T::kPanel),
        v_panel_((p.seq_kv + kGrain - 1) / kGrain * kGrain / T::kPair * T::kPanel),
        v_in_place_(!p.decode() && T::kPair == 1 && p.kv_dtype == T::kWord &&
                    p.layout == AttentionLayout::kDense && p.head_dim_v % T::kLanes == 0),
        k_(count * k_size_),
        v_(v_in_place_ ? 0 : count * v_panels_ * v_panel_) {}

  /// Packs into place `at`; the result refers to it and to the operands.
  ShortKv<T> pack(const AttentionProblem& p, std::span<const Tensor> in,
                  const AttentionSequence& sequence, std::int64_t head_kv, std::int64_t at) {
    const KeyRange keys{0, sequence.seq_kv};
    std::uint32_t* k = k_.data() + at * k_size_;
    const KvRows k_rows = KvRows::of_k(p, in, sequence, head_kv);
    if (narrow_ > 0) {
      pack_narrow(k_rows, keys, k);
    } else {
      pack_panels(k_rows, keys, k);
    }
    ShortKv<T> kv{.k = k,
                  .k_stride = narrow_ > 0 ? narrow_ : k_stride_,
                  .scales = KvHeadScales::of(p, in, sequence.b, head_kv)};
    const KvRows rows = KvRows::of_v(p, in, sequence, head_kv);
    if (v_in_place_) {
      kv.v = reinterpret_cast<const std::uint32_t*>(rows.data) + rows.element(0);
      kv.v_stride = rows.width;
      kv.v_panel = T::kPanel;
      kv.non_finite = (p.masked() || p.has_allowed) && any_non_finite(kv, keys, rows.count);
      return kv;
    }
    std::uint32_t* v = v_.data() + at * v_panels_ * v_panel_;
    kv.non_finite = T::pack_v(rows, keys, v_panels_, v_panel_, v);
    kv.v = v;
    kv.v_stride = T::kPanel;
    kv.v_panel = v_panel_;
    return kv;
  }

  static bool is_narrow(const AttentionProblem& p) {
    return p.decode() && p.seq_kv > 0 && p.seq_kv <= kNarrow;
  }
  [[nodiscard]] std::size_t bytes() const { return k_.bytes() + v_.bytes(); }

 private:
  // Packing writes V to whole registers of bf16's pairs.
  static constexpr std::int64_t kGrain = 2;
  static constexpr std::int64_t kNarrow = 4;

  static std::int64_t k_panels(const AttentionProblem& p) {
    if constexpr (T::kShortPanels == 1) return 1;
    return std::max<std::int64_t>((p.seq_kv + T::kPanel - 1) / T::kPanel, 1);
  }
  static std::int64_t narrow_keys(std::int64_t keys) { return keys == 3 ? 4 : keys; }

  void pack_panels(const KvRows& rows, const KeyRange& keys, std::uint32_t* k) const {
    if constexpr (T::kShortPanels == 1) return T::pack_k(rows, keys, steps_, k_stride_, k);
    for (std::int64_t at = 0; at < keys.size(); at += T::kPanel, k += T::kPanel * steps_) {
      T::pack_k(rows, {at, std::min(at + T::kPanel, keys.hi)}, steps_, k_stride_, k);
    }
  }

  // By way of the wide form: this is set-up.
  void pack_narrow(const KvRows& rows, const KeyRange& keys, std::uint32_t* k) const {
    AlignedBuffer<std::uint32_t> wide(steps_ * T::kLanes);
    T::pack_k(rows, keys, steps_, T::kLanes, wide.data());
    for (std::int64_t step = 0; step < steps_; ++step) {
      for (std::int64_t j = 0; j < keys.size(); ++j) {
        k[step * narrow_ + j] = wide[step * T::kLanes + j];
      }
    }
  }

  static bool any_non_finite(const ShortKv<T>& kv, const KeyRange& keys, std::int64_t columns) {
    bool odd = false;
    for (std::int64_t j = 0; j < keys.size(); ++j) {
      const auto* row = reinterpret_cast<const float*>(kv.v + j * kv.v_stride);
      for (std::int64_t c = 0; c < columns; c += T::kLanes) {
        odd |= T::any_non_finite(T::load_floats(row + c));
      }
    }
    return odd;
  }

  std::int64_t steps_ = 0;
  std::int64_t k_stride_ = 0;
  std::int64_t narrow_ = 0;  ///< keys of a narrow one, or 0
  std::int64_t k_size_ = 0;  ///< dwords
  std::int64_t v_panels_ = 0;
  std::int64_t v_panel_ = 0;
  bool v_in_place_ = false;
  AlignedBuffer<std::uint32_t> k_;
  AlignedBuffer<std::uint32_t> v_;
};

}  // namespace pareto
