// The KV cache of decode: K and V of every (sequence, KV head) in panels, as the register tiles of
// register_tiles.h read them, and what comes with them: scales per key, and which panels hold a
// non-finite v.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "harness/aligned_buffer.h"
#include "harness/thread_pool.h"
#include "kernels/attention/kv_rows.h"
#include "reference/attention.h"

namespace pareto {

/// A *step* is one dword of the reduction: `pair` elements of d in K, `pair` keys in V.
///   K [k_panels][steps][k_stride keys][pair]    V [v_panels][keys / pair][panel columns][pair]
/// Zeros stand beyond head_dim, head_dim_v and the last key.
struct KvLayout {
  std::int64_t panel = 0;
  std::int64_t pair = 1;
  std::int64_t steps = 0;
  std::int64_t k_panels = 0;
  std::int64_t v_panels = 0;
  std::int64_t keys = 0;      ///< k_panels · panel
  std::int64_t k_stride = 0;  ///< ≤ panel, less only if all keys fit
  std::int64_t v_stride = 0;  ///< keys from one panel of V to the next

  static KvLayout of(const AttentionProblem& p, std::int64_t panel, std::int64_t pair,
                     std::int64_t k_stride) {
    KvLayout layout;
    layout.k_stride = k_stride;
    layout.v_stride = (p.seq_kv + pair - 1) / pair * pair;
    layout.panel = panel;
    layout.pair = pair;
    layout.steps = (p.head_dim + pair - 1) / pair;
    layout.k_panels = (p.seq_kv + panel - 1) / panel;
    layout.v_panels = (p.head_dim_v + panel - 1) / panel;
    layout.keys = layout.k_panels * panel;
    return layout;
  }
  // In elements.
  [[nodiscard]] std::int64_t k_panel_size() const { return steps * pair * k_stride; }
  [[nodiscard]] std::int64_t k_size() const { return k_panels * k_panel_size(); }
  [[nodiscard]] std::int64_t v_size() const { return v_panels * v_stride * panel; }
  /// Of V's panel at a key that is a multiple of `pair`.
  [[nodiscard]] std::int64_t v_at(std::int64_t v_panel, std::int64_t key) const {
    return (v_panel * v_stride + key) * panel;
  }
};

class PackedKv {
 public:
  /// Room for all heads of the problem, elements of `element_bytes`.
  PackedKv(const AttentionProblem& p, const KvLayout& layout, std::int64_t element_bytes);

  /// Packs everything in the type it has (decode: once per KV cache).
  void pack_as_stored(const AttentionProblem& p, std::span<const Tensor> in, ThreadPool& pool);

  [[nodiscard]] const KvLayout& layout() const { return layout_; }
  /// Index of (sequence, KV head) for the functions below.
  [[nodiscard]] std::int64_t head(std::int64_t b, std::int64_t head_kv) const {
    return b * heads_kv_ + head_kv;
  }
  [[nodiscard]] std::byte* k(std::int64_t head) {
    return k_.data() + head * layout_.k_size() * element_bytes_;
  }
  [[nodiscard]] std::byte* v(std::int64_t head) {
    return v_.data() + head * layout_.v_size() * element_bytes_;
  }
  /// Per key; null unless int8.
  [[nodiscard]] float* k_scale(std::int64_t head) {
    return k_scale_.size() > 0 ? k_scale_.data() + head * layout_.keys : nullptr;
  }
  [[nodiscard]] float* v_scale(std::int64_t head) {
    return v_scale_.size() > 0 ? v_scale_.data() + head * layout_.keys : nullptr;
  }
  [[nodiscard]] const KvHeadScales& head_scales(std::int64_t head) const {
    return head_scales_[head];
  }
  /// Per panel of keys: does v hold a non-finite value there?
  [[nodiscard]] std::uint8_t* non_finite(std::int64_t head) {
    return non_finite_.data() + head * layout_.k_panels;
  }
  [[nodiscard]] std::int64_t element_bytes() const { return element_bytes_; }
  [[nodiscard]] std::size_t bytes() const {
    return k_.bytes() + v_.bytes() + k_scale_.bytes() + v_scale_.bytes() + non_finite_.bytes();
  }

 private:
  void take_scales(const AttentionProblem& p, std::span<const Tensor> in,
                   const AttentionSequence& sequence, std::int64_t head_kv);

  KvLayout layout_;
  std::int64_t element_bytes_ = 0;
  std::int64_t heads_kv_ = 0;
  AlignedBuffer<std::byte> k_;
  AlignedBuffer<std::byte> v_;
  AlignedBuffer<float> k_scale_;
  AlignedBuffer<float> v_scale_;
  AlignedBuffer<KvHeadScales> head_scales_;
  AlignedBuffer<std::uint8_t> non_finite_;
};

}  // namespace pareto
