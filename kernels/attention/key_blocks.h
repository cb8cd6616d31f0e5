// One block of keys of blocked attention, for all rows of a task: scores, weights, P·V.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "harness/aligned_buffer.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/attention/register_tiles.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

/// The workspace of one thread; rows are padded to whole registers.
template <typename T>
struct AttentionWorkspace {
  AlignedBuffer<std::uint32_t> q;  ///< [rows][q_stride]
  AlignedBuffer<float> s;          ///< [rows][s_stride]
  AlignedBuffer<float> o;          ///< [rows][o_stride]
  AlignedBuffer<float> row_max;    ///< [rows][lanes]
  AlignedBuffer<float> alpha;      ///< [rows]
  AlignedBuffer<KeyRange> tile_keys;
  AlignedBuffer<std::uint32_t> k;  ///< a widened panel
  AlignedBuffer<std::uint32_t> v;  ///< a widened block of one panel of columns
  std::vector<TaskRow> rows;
};

/// The same for all threads; `kv` outlives it and is packed before `visit`.
template <typename T>
class KeyBlocks {
 public:
  using Space = AttentionWorkspace<T>;

  KeyBlocks(const AttentionProblem& p, PackedKv& kv)
      : p_(p),
        kv_(kv),
        layout_(kv.layout()),
        block_keys_(keys_per_block(p)),
        widen_(p.decode() && p.kv_dtype != T::kWord),
        // An odd number of lines, lest rows fall into the same sets of L1.
        q_stride_((layout_.steps + 15) / 16 * 16 + 16),
        s_stride_(block_keys_ + 16),
        o_stride_(layout_.v_panels * T::kPanel + 16) {}

  [[nodiscard]] std::int64_t block_keys() const { return block_keys_; }
  [[nodiscard]] std::int64_t q_stride() const { return q_stride_; }
  [[nodiscard]] std::int64_t o_stride() const { return o_stride_; }

  /// Room for tasks of up to `rows` rows.
  [[nodiscard]] Space make_space(std::int64_t rows) const {
    Space space;
    space.q = AlignedBuffer<std::uint32_t>(rows * q_stride_);
    space.s = AlignedBuffer<float>(rows * s_stride_);
    space.o = AlignedBuffer<float>(rows * o_stride_);
    space.row_max = AlignedBuffer<float>(rows * T::kLanes);
    space.alpha = AlignedBuffer<float>(rows);
    space.tile_keys = AlignedBuffer<KeyRange>(rows / T::kRows + 1);
    space.rows.resize(static_cast<std::size_t>(rows));
    if (widen_) {
      space.k = AlignedBuffer<std::uint32_t>(layout_.steps * T::kPanel);
      space.v = AlignedBuffer<std::uint32_t>(block_keys_ * T::kPanel);
    }
    return space;
  }

  /// o and the softmax of all rows go on over `keys`, at most block_keys() from a panel's first.
  void visit(const RowBlock& block, const KeyRange& keys, Space& space) {
    const std::int64_t head = kv_.head(block.sequence.b, block.head_kv);
    std::fill_n(space.row_max.data(), block.rows() * T::kLanes,
                -std::numeric_limits<float>::infinity());
    for (std::int64_t key = keys.lo; key < keys.hi; key += T::kPanel) {
      score_panel(block, keys, head, key, space);
    }
    for (std::int64_t first = 0; first < block.rows(); first += T::kRows) {
      const KeyRange panels = panels_of(space.tile_keys[first / T::kRows], keys);
      if (panels.size() == 0) continue;
      for (std::int64_t r = first; r < std::min(first + T::kRows, block.rows()); ++r) {
        soften(keys.lo, panels, r, head, space);
      }
    }
    for (std::int64_t panel = 0; panel < layout_.v_panels; ++panel) {
      add_values(block, keys, head, panel, space);
    }
  }

 private:
  // The panels of `keys` that a tile of rows visits, relative to keys.lo.
  static KeyRange panels_of(const KeyRange& tile, const KeyRange& keys) {
    const std::int64_t lo = std::max(tile.lo, keys.lo) - keys.lo;
    const std::int64_t hi = std::min(tile.hi, keys.hi) - keys.lo;
    if (lo >= hi) return {};
    return {lo / T::kPanel * T::kPanel, (hi + T::kPanel - 1) / T::kPanel * T::kPanel};
  }

  void score_panel(const RowBlock& block, const KeyRange& keys, std::int64_t head, std::int64_t key,
                   Space& space) {
    const std::int64_t elements = layout_.k_panel_size();
    const std::byte* stored = kv_.k(head) + key / T::kPanel * elements * kv_.element_bytes();
    const auto* k = reinterpret_cast<const std::uint32_t*>(stored);
    if (widen_) {
      T::widen(stored, p_.kv_dtype, elements, space.k.data());
      k = space.k.data();
    }
    const std::int64_t at = key - keys.lo;
    const std::int64_t columns =
        std::min<std::int64_t>(T::kColumns, (keys.hi - key + T::kLanes - 1) / T::kLanes);
    for (std::int64_t r = 0; r < block.rows(); r += T::kRows) {
      const KeyRange panels = panels_of(space.tile_keys[r / T::kRows], keys);
      if (at < panels.lo || at >= panels.hi) continue;
      const std::int64_t rows = std::min<std::int64_t>(T::kRows, block.rows() - r);
      TileTable<T>::kScore[TileTable<T>::at(rows, columns)](
          space.q.data() + r * q_stride_, q_stride_, k, layout_.steps,
          space.s.data() + r * s_stride_ + at, s_stride_, space.row_max.data() + r * T::kLanes);
    }
  }

  // Weights of one row and block.
  void soften(std::int64_t block_key, const KeyRange& panels, std::int64_t r, std::int64_t head,
              Space& space) {
    TaskRow& row = space.rows[r];
    const LogitTerms& terms = row.terms;
    float* s = space.s.data() + r * s_stride_;
    const bool whole =
        terms.range.lo <= block_key + panels.lo && terms.range.hi >= block_key + panels.hi;
    float factor = terms.factor;
    float most = 0;
    if (whole && p_.plain_logits() && terms.k_scale == nullptr && factor > 0) {
      most = factor * T::reduce_max(T::load_floats(space.row_max.data() + r * T::kLanes));
    } else {
      most = apply_terms<T>(terms, block_key, s, panels.lo, panels.hi);
      factor = 1;
    }
    const float before = row.state.max;
    row.state.max = before < most ? most : before;
    // With no key so far, every weight shall be 2^−∞ = 0.
    const bool none = row.state.max == -std::numeric_limits<float>::infinity();
    const float shift = none ? 0.0F : row.state.max;
    const float alpha = before == row.state.max ? 1.0F : exp2_once<T>(before - shift);
    const float* v_scale = kv_.v_scale(head);
    const float sum = weigh<T>(s, panels.lo, panels.hi, factor, shift,
                               v_scale != nullptr ? v_scale + block_key : nullptr);
    row.state.sum = row.state.sum * alpha + sum;
    space.alpha[r] = alpha;
  }

  // o = alpha·o + P·V for one panel of columns.
  void add_values(const RowBlock& block, const KeyRange& keys, std::int64_t head,
                  std::int64_t panel, Space& space) {
    const std::byte* stored = kv_.v(head) + layout_.v_at(panel, keys.lo) * kv_.element_bytes();
    const auto* v = reinterpret_cast<const std::uint32_t*>(stored);
    if (widen_) {
      const std::int64_t whole = (keys.size() + T::kPair - 1) / T::kPair * T::kPair;
      T::widen(stored, p_.kv_dtype, whole * T::kPanel, space.v.data());
      v = space.v.data();
    }
    const std::int64_t columns = std::min<std::int64_t>(
        T::kColumns, (p_.head_dim_v - panel * T::kPanel + T::kLanes - 1) / T::kLanes);
    const std::uint8_t* odd = kv_.non_finite(head) + keys.lo / T::kPanel;
    for (std::int64_t r = 0; r < block.rows(); r += T::kRows) {
      const KeyRange& tile = space.tile_keys[r / T::kRows];
      const KeyRange panels = panels_of(tile, keys);
      if (panels.size() == 0) continue;
      const std::int64_t rows = std::min<std::int64_t>(T::kRows, block.rows() - r);
      const bool careful = std::any_of(odd + panels.lo / T::kPanel, odd + panels.hi / T::kPanel,
                                       [](std::uint8_t flag) { return flag != 0; });
      if (careful) {
        for (std::int64_t i = r; i < r + rows; ++i) {
          add_seen_values(keys, panels, panel, i, v, space);
        }
        continue;
      }
      // Weights beyond the last key that a row of the tile sees are 0.
      const std::int64_t lo = panels.lo / T::kPair;
      const std::int64_t hi = (std::min(tile.hi, keys.hi) - keys.lo + T::kPair - 1) / T::kPair;
      TileTable<T>::kValue[TileTable<T>::at(rows, columns)](
          reinterpret_cast<const std::uint32_t*>(space.s.data() + r * s_stride_) + lo, s_stride_,
          v + lo * T::kPanel, hi - lo, space.o.data() + r * o_stride_ + panel * T::kPanel,
          o_stride_, space.alpha.data() + r);
    }
  }

  // The same for one row beside a non-finite v: keys that the row does not see have weight 0, but
  // 0·∞ is not 0.
  void add_seen_values(const KeyRange& keys, const KeyRange& panels, std::int64_t panel,
                       std::int64_t r, const std::uint32_t* v, Space& space) {
    const auto* p = reinterpret_cast<const std::uint32_t*>(space.s.data() + r * s_stride_);
    float* o = space.o.data() + r * o_stride_ + panel * T::kPanel;
    for (std::int64_t c = 0; c < T::kPanel; ++c) o[c] *= space.alpha[r];
    for (std::int64_t j = panels.lo; j < std::min(panels.hi, keys.size()); ++j) {
      if (!space.rows[r].terms.sees(keys.lo + j)) continue;
      const float weight = T::word_at(p, j);
      for (std::int64_t c = 0; c < T::kPanel; ++c) {
        o[c] += weight * T::word_at(v, (j / T::kPair * T::kPanel + c) * T::kPair + j % T::kPair);
      }
    }
  }

  const AttentionProblem& p_;
  PackedKv& kv_;
  KvLayout layout_;
  std::int64_t block_keys_;
  bool widen_;
  std::int64_t q_stride_;
  std::int64_t s_stride_;
  std::int64_t o_stride_;
};

}  // namespace pareto
