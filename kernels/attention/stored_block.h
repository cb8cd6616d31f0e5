// One block of keys of a decode's KV cache, widened a panel at a time to the words of the products.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
#pragma once

#include <cstdint>

#include "harness/aligned_buffer.h"
#include "kernels/attention/packed_kv.h"
#include "reference/attention.h"

namespace pareto {

/// A source of blocks (block_softmax.h); one per thread.
template <typename T>
class StoredBlock {
 public:
  /// `kv` outlives it and is packed before `take`.
  StoredBlock(const AttentionProblem& p, PackedKv& kv, std::int64_t block_keys)
      : kv_(kv), dtype_(p.kv_dtype), widen_(p.kv_dtype != T::kWord) {
    if (!widen_) return;
    k_ = AlignedBuffer<std::uint32_t>(kv.layout().steps * T::kPanel);
    v_ = AlignedBuffer<std::uint32_t>(block_keys * T::kPanel);
  }

  void take(std::int64_t head, const KeyRange& keys) {
    head_ = head;
    keys_ = keys;
  }

  [[nodiscard]] const KeyRange& keys() const { return keys_; }
  [[nodiscard]] std::int64_t k_stride() const { return kv_.layout().k_stride; }
  const std::uint32_t* k_panel(std::int64_t i) {
    const std::int64_t elements = kv_.layout().k_panel_size();
    return words(kv_.k(head_), (keys_.lo / T::kPanel + i) * elements, elements, k_);
  }
  const std::uint32_t* v_panel(std::int64_t i) {
    const std::int64_t whole = (keys_.size() + T::kPair - 1) / T::kPair * T::kPair;
    return words(kv_.v(head_), kv_.layout().v_at(i, keys_.lo), whole * T::kPanel, v_);
  }
  const float* k_scale() { return at_first_key(kv_.k_scale(head_)); }
  const float* v_scale() { return at_first_key(kv_.v_scale(head_)); }
  const std::uint8_t* non_finite() { return kv_.non_finite(head_) + keys_.lo / T::kPanel; }

 private:
  const std::uint32_t* words(const std::byte* codes, std::int64_t first, std::int64_t count,
                             AlignedBuffer<std::uint32_t>& widened) const {
    const std::byte* stored = codes + first * kv_.element_bytes();
    if (!widen_) return reinterpret_cast<const std::uint32_t*>(stored);
    T::widen(stored, dtype_, count, widened.data());
    return widened.data();
  }
  [[nodiscard]] const float* at_first_key(const float* scales) const {
    return scales != nullptr ? scales + keys_.lo : nullptr;
  }

  PackedKv& kv_;
  DType dtype_;
  bool widen_;
  std::int64_t head_ = 0;
  KeyRange keys_;
  AlignedBuffer<std::uint32_t> k_;  ///< a widened panel
  AlignedBuffer<std::uint32_t> v_;  ///< a widened block of one panel of columns
};

}  // namespace pareto
