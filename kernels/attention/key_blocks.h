// One block of keys of blocked attention, for some rows of a task: scores, weights, P·V.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "harness/aligned_buffer.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

/// Keys that the rows of one register tile see.
struct TileKeys {
  KeyRange any;  ///< at least one row, so that all panels visited lie here
  KeyRange all;  ///< every row: scores of panels inside need no mask
};

/// The workspace of one thread; rows are padded to whole registers.
template <typename T>
struct AttentionWorkspace {
  AlignedBuffer<std::uint32_t> q;  ///< [rows][q_stride]
  AlignedBuffer<float> s;          ///< [rows at a time][s_stride]
  AlignedBuffer<float> o;          ///< [rows][o_stride]
  AlignedBuffer<float> row_max;    ///< [rows at a time][lanes]: of the panels without a mask
  AlignedBuffer<float> masked;     ///< [tile rows][lanes]: row maxima that nobody reads
  AlignedBuffer<float> alpha;      ///< [rows at a time]
  AlignedBuffer<TileKeys> tiles;
  std::vector<TaskRow> rows;
};

/// Blocks of keys for all threads. A source of a block tells where its operands are:
///   keys()            the keys, at most block_keys() from a panel's first
///   k_panel(i)        panel i of K
///   v_panel(i)        panel of columns i of V, from the block's first key
///   k_scale() v_scale()  per key from the block's first, or null
///   non_finite()      per panel of keys: does v hold a non-finite value there?
/// T::Tiles multiplies (register_tiles.h, amx_tiles.h); one per thread.
template <typename T>
class KeyBlocks {
 public:
  using Space = AttentionWorkspace<T>;
  using Tiles = typename T::Tiles;

  /// `p` outlives it.
  explicit KeyBlocks(const AttentionProblem& p)
      : p_(p),
        block_keys_(keys_per_block(p)),
        steps_(T::steps(p.head_dim)),
        v_panels_((p.head_dim_v + T::kPanel - 1) / T::kPanel),
        // An odd number of lines, lest rows fall into the same sets of L1.
        q_stride_((steps_ + 15) / 16 * 16 + 16),
        s_stride_(block_keys_ + 16),
        o_stride_(v_panels_ * T::kPanel + 16) {}

  [[nodiscard]] std::int64_t block_keys() const { return block_keys_; }
  [[nodiscard]] std::int64_t q_stride() const { return q_stride_; }
  [[nodiscard]] std::int64_t o_stride() const { return o_stride_; }

  /// Room for tasks of up to `rows` rows, of which `visit` gets up to `at_a_time`; for whole tiles,
  /// since some tiles always work on all of their rows.
  [[nodiscard]] Space make_space(std::int64_t rows, std::int64_t at_a_time) const {
    rows = (rows + T::kRows - 1) / T::kRows * T::kRows;
    at_a_time = (at_a_time + T::kRows - 1) / T::kRows * T::kRows;
    Space space;
    space.q = AlignedBuffer<std::uint32_t>(rows * q_stride_);
    space.s = AlignedBuffer<float>(at_a_time * s_stride_);
    space.o = AlignedBuffer<float>(rows * o_stride_);
    space.row_max = AlignedBuffer<float>(at_a_time * T::kLanes);
    space.masked = AlignedBuffer<float>(T::kRows * T::kLanes);
    space.alpha = AlignedBuffer<float>(at_a_time);
    space.tiles = AlignedBuffer<TileKeys>(rows / T::kRows);
    space.rows.resize(static_cast<std::size_t>(rows));
    return space;
  }

  /// o and the softmax of rows [rows.lo, rows.hi) go on over one block; rows.lo begins a tile.
  template <typename Source>
  void visit(const KeyRange& rows, Source& source, Tiles& tiles, Space& space) const {
    std::fill_n(space.row_max.data(), rows.size() * T::kLanes,
                -std::numeric_limits<float>::infinity());
    const KeyRange& keys = source.keys();
    for (std::int64_t at = 0; at < keys.size(); at += T::kPanel) {
      score_panel(rows, keys, at, source.k_panel(at / T::kPanel), tiles, space);
    }
    for (std::int64_t r = rows.lo; r < rows.hi; r += T::kRows) {
      const TileKeys& tile = space.tiles[r / T::kRows];
      const KeyRange panels = panels_of(tile.any, keys);
      if (panels.size() == 0) continue;
      for (std::int64_t i = r; i < std::min(r + T::kRows, rows.hi); ++i) {
        soften(rows.lo, i, panels, tile.all, source, space);
      }
    }
    for (std::int64_t panel = 0; panel < v_panels_; ++panel) {
      add_values(rows, panel, source, tiles, space);
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

  // Scores of the panel at keys.lo + at. Registers of keys that no row of a tile sees stay out.
  void score_panel(const KeyRange& rows, const KeyRange& keys, std::int64_t at,
                   const std::uint32_t* k, Tiles& tiles, Space& space) const {
    const std::int64_t key = keys.lo + at;
    for (std::int64_t r = rows.lo; r < rows.hi; r += T::kRows) {
      const TileKeys& tile = space.tiles[r / T::kRows];
      const KeyRange panels = panels_of(tile.any, keys);
      if (at < panels.lo || at >= panels.hi) continue;
      const std::int64_t seen = std::min(tile.any.hi, keys.hi) - key;
      const std::int64_t columns =
          std::min<std::int64_t>(T::kColumns, (seen + T::kLanes - 1) / T::kLanes);
      const bool whole = key >= tile.all.lo && key + T::kPanel <= tile.all.hi;
      tiles.score(std::min<std::int64_t>(T::kRows, rows.hi - r), columns,
                  space.q.data() + r * q_stride_, q_stride_, k, steps_,
                  space.s.data() + (r - rows.lo) * s_stride_ + at, s_stride_,
                  whole ? space.row_max.data() + (r - rows.lo) * T::kLanes : space.masked.data());
    }
  }

  // Weights of row r in one block; `all`: keys that need no mask.
  template <typename Source>
  void soften(std::int64_t first_row, std::int64_t r, const KeyRange& panels, const KeyRange& all,
              Source& source, Space& space) const {
    TaskRow& row = space.rows[r];
    const LogitTerms& terms = row.terms;
    const std::int64_t block_key = source.keys().lo;
    float* s = space.s.data() + (r - first_row) * s_stride_;
    float factor = terms.factor;
    float most = 0;
    if (p_.plain_logits() && source.k_scale() == nullptr && factor > 0) {
      // Maxima of panels without a mask are there already.
      const KeyRange whole = {(all.lo - block_key + T::kPanel - 1) / T::kPanel * T::kPanel,
                              (all.hi - block_key) / T::kPanel * T::kPanel};
      most = T::reduce_max(T::load_floats(space.row_max.data() + (r - first_row) * T::kLanes));
      most =
          mask_panels<T>(terms.range, block_key, s, panels.lo, std::min(panels.hi, whole.lo), most);
      most = mask_panels<T>(terms.range, block_key, s, std::max({panels.lo, whole.lo, whole.hi}),
                            panels.hi, most);
      most *= factor;
    } else {
      most = apply_terms<T>(terms, source.k_scale(), block_key, s, panels.lo, panels.hi);
      factor = 1;
    }
    const float before = row.state.max;
    row.state.max = before < most ? most : before;
    // With no key so far, every weight shall be 2^−∞ = 0.
    const bool none = row.state.max == -std::numeric_limits<float>::infinity();
    const float shift = none ? 0.0F : row.state.max;
    const float alpha = before == row.state.max ? 1.0F : exp2_once<T>(before - shift);
    const float sum = weigh<T>(s, panels.lo, panels.hi, factor, shift, source.v_scale());
    row.state.sum = row.state.sum * alpha + sum;
    space.alpha[r - first_row] = alpha;
  }

  // o = alpha·o + P·V for one panel of columns.
  template <typename Source>
  void add_values(const KeyRange& rows, std::int64_t panel, Source& source, Tiles& tiles,
                  Space& space) const {
    const KeyRange& keys = source.keys();
    const std::uint32_t* v = source.v_panel(panel);
    const std::int64_t columns = std::min<std::int64_t>(
        T::kColumns, (p_.head_dim_v - panel * T::kPanel + T::kLanes - 1) / T::kLanes);
    for (std::int64_t r = rows.lo; r < rows.hi; r += T::kRows) {
      const KeyRange& tile = space.tiles[r / T::kRows].any;
      const KeyRange panels = panels_of(tile, keys);
      if (panels.size() == 0) continue;
      const std::int64_t count = std::min<std::int64_t>(T::kRows, rows.hi - r);
      const std::uint8_t* odd = source.non_finite();
      const bool careful = std::any_of(odd + panels.lo / T::kPanel, odd + panels.hi / T::kPanel,
                                       [](std::uint8_t flag) { return flag != 0; });
      if (careful) {
        for (std::int64_t i = r; i < r + count; ++i) {
          add_seen_values(keys, panels, panel, rows.lo, i, v, space);
        }
        continue;
      }
      // Weights beyond the last key that a row of the tile sees are 0.
      const std::int64_t lo = panels.lo / T::kPair;
      const std::int64_t hi = (std::min(tile.hi, keys.hi) - keys.lo + T::kPair - 1) / T::kPair;
      tiles.value(
          count, columns,
          reinterpret_cast<const std::uint32_t*>(space.s.data() + (r - rows.lo) * s_stride_) + lo,
          s_stride_, v + lo * T::kPanel, hi - lo,
          space.o.data() + r * o_stride_ + panel * T::kPanel, o_stride_,
          space.alpha.data() + (r - rows.lo));
    }
  }

  // The same for one row beside a non-finite v: keys that the row does not see have weight 0, but
  // 0·∞ is not 0.
  void add_seen_values(const KeyRange& keys, const KeyRange& panels, std::int64_t panel,
                       std::int64_t first_row, std::int64_t r, const std::uint32_t* v,
                       Space& space) const {
    const auto* p =
        reinterpret_cast<const std::uint32_t*>(space.s.data() + (r - first_row) * s_stride_);
    float* o = space.o.data() + r * o_stride_ + panel * T::kPanel;
    for (std::int64_t c = 0; c < T::kPanel; ++c) o[c] *= space.alpha[r - first_row];
    for (std::int64_t j = panels.lo; j < std::min(panels.hi, keys.size()); ++j) {
      if (!space.rows[r].terms.sees(keys.lo + j)) continue;
      const float weight = T::word_at(p, j);
      for (std::int64_t c = 0; c < T::kPanel; ++c) {
        o[c] += weight * T::word_at(v, (j / T::kPair * T::kPanel + c) * T::kPair + j % T::kPair);
      }
    }
  }

  const AttentionProblem& p_;
  std::int64_t block_keys_;
  std::int64_t steps_;
  std::int64_t v_panels_;
  std::int64_t q_stride_;
  std::int64_t s_stride_;
  std::int64_t o_stride_;
};

}  // namespace pareto
