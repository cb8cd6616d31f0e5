// One block of keys of blocked attention, for some rows of a task: scores, weights, P·V, one after
// another, each with the panels outside and the rows inside.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "harness/aligned_buffer.h"
#include "kernels/attention/block_softmax.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

/// Blocks of keys for all threads, from a source as block_softmax.h says. T::Tiles multiplies
/// (register_tiles.h); one per thread.
template <typename T>
class KeyBlocks : public BlockSoftmax<T> {
 public:
  using Space = AttentionWorkspace<T>;
  using Tiles = typename T::Tiles;
  static constexpr std::int64_t kTaskBytes = kPrefillTaskBytes;

  /// `p` outlives it.
  explicit KeyBlocks(const AttentionProblem& p) : BlockSoftmax<T>(p) {}

  /// A panel's keys, or the registers that all keys take: what is not there takes no part of L1.
  [[nodiscard]] std::int64_t k_stride() const {
    return std::clamp<std::int64_t>((p_.seq_kv + T::kLanes - 1) / T::kLanes * T::kLanes, T::kLanes,
                                    T::kPanel);
  }
  /// Before the first block of a task of `rows` rows: nothing, o begins with its first products.
  void begin(std::int64_t /*rows*/, Space& /*space*/) const {}
  /// After the last: o of rows that met no key is 0.
  void end(std::int64_t rows, Space& space) const {
    for (std::int64_t r = 0; r < rows; r += T::kRows) {
      if (space.tiles[r / T::kRows].begun) continue;
      std::fill_n(space.o.data() + r * o_stride_,
                  std::min<std::int64_t>(T::kRows, rows - r) * o_stride_, 0.0F);
    }
  }

  /// Room for tasks of up to `rows` rows, of which `visit` gets up to `at_a_time`.
  [[nodiscard]] Space make_space(std::int64_t rows, std::int64_t at_a_time) const {
    at_a_time = this->whole_tiles(at_a_time);
    Space space;
    this->reserve(rows, at_a_time, space);
    space.row_max = AlignedBuffer<float>(at_a_time * T::kLanes);
    space.masked = AlignedBuffer<float>(T::kRows * T::kLanes);
    space.alpha = AlignedBuffer<float>(at_a_time);
    return space;
  }
  /// The same for `visit_all`.
  [[nodiscard]] Space make_space(std::int64_t rows) const {
    return make_space(rows, std::min(rows, kRowsAtATime));
  }

  /// o and the softmax of rows [0, rows) go on over one block.
  template <typename Source>
  void visit_all(std::int64_t rows, Source& source, Tiles& tiles, Space& space) const {
    for (std::int64_t row = 0; row < rows; row += kRowsAtATime) {
      visit({row, std::min(row + kRowsAtATime, rows)}, source, tiles, space);
    }
  }

  /// The same for rows [rows.lo, rows.hi) at once; rows.lo begins a tile.
  template <typename Source>
  void visit(const KeyRange& rows, Source& source, Tiles& tiles, Space& space) const {
    std::fill_n(space.row_max.data(), rows.size() * T::kLanes,
                -std::numeric_limits<float>::infinity());
    const KeyRange& keys = source.keys();
    for (std::int64_t at = 0; at < keys.size(); at += T::kPanel) {
      score_panel(rows, keys, at, source.k_panel(at / T::kPanel), source.k_stride(), tiles, space);
    }
    for (std::int64_t r = rows.lo; r < rows.hi; r += T::kRows) {
      const TileKeys& tile = space.tiles[r / T::kRows];
      const KeyRange panels = this->panels_of(tile.any, keys);
      if (panels.size() == 0) continue;
      for (std::int64_t i = r; i < std::min(r + T::kRows, rows.hi); ++i) {
        soften(rows.lo, i, panels, tile.all, source, space);
      }
    }
    for (std::int64_t panel = 0; panel < v_panels_; ++panel) {
      add_values(rows, panel, source, tiles, space);
    }
    for (std::int64_t r = rows.lo; r < rows.hi; r += T::kRows) {
      TileKeys& tile = space.tiles[r / T::kRows];
      tile.begun = tile.begun || this->panels_of(tile.any, keys).size() > 0;
    }
  }

 private:
  // Scores of 192 rows × 512 keys and one panel of K or V fit L2; a multiple of every tile height.
  static constexpr std::int64_t kRowsAtATime = 192;
  static_assert(kRowsAtATime % T::kRows == 0);

  // Maxima of panels without a mask are there already.
  struct KeptMaxima {
    const float* row_max;
    float operator()(const KeyRange& /*panels*/) const {
      return T::reduce_max(T::load_floats(row_max));
    }
  };

  // Scores of the panel at keys.lo + at. Registers of keys that no row of a tile sees stay out.
  void score_panel(const KeyRange& rows, const KeyRange& keys, std::int64_t at,
                   const std::uint32_t* k, std::int64_t ldk, Tiles& tiles, Space& space) const {
    const std::int64_t key = keys.lo + at;
    for (std::int64_t r = rows.lo; r < rows.hi; r += T::kRows) {
      const TileKeys& tile = space.tiles[r / T::kRows];
      const KeyRange panels = this->panels_of(tile.any, keys);
      if (at < panels.lo || at >= panels.hi) continue;
      const std::int64_t seen = std::min(tile.any.hi, keys.hi) - key;
      const std::int64_t columns =
          std::min<std::int64_t>(T::kColumns, (seen + T::kLanes - 1) / T::kLanes);
      const bool whole =
          key >= tile.all.lo && std::min(key + T::kPanel, keys.lo + panels.hi) <= tile.all.hi;
      tiles.score(std::min<std::int64_t>(T::kRows, rows.hi - r), columns,
                  space.q.data() + r * q_stride_, q_stride_, k, ldk, steps_,
                  space.s.data() + (r - rows.lo) * s_stride_ + at, s_stride_,
                  whole ? space.row_max.data() + (r - rows.lo) * T::kLanes : space.masked.data());
    }
  }

  // Weights of row r in one block; `all`: keys that need no mask.
  template <typename Source>
  void soften(std::int64_t first_row, std::int64_t r, const KeyRange& panels, const KeyRange& all,
              Source& source, Space& space) const {
    TaskRow& row = space.rows[r];
    float* s = space.s.data() + (r - first_row) * s_stride_;
    const KeptMaxima maxima{space.row_max.data() + (r - first_row) * T::kLanes};
    const RowWeights weights = this->aim(panels, all, source, s, maxima, row);
    const float sum =
        weigh<T>(s, panels.lo, panels.hi, weights.factor, weights.shift, source.v_scale());
    row.state.sum = row.state.sum * weights.alpha + sum;
    space.alpha[r - first_row] = weights.alpha;
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
      const TileKeys& tile = space.tiles[r / T::kRows];
      const KeyRange panels = this->panels_of(tile.any, keys);
      if (panels.size() == 0) continue;
      const std::int64_t count = std::min<std::int64_t>(T::kRows, rows.hi - r);
      if (this->any_non_finite(source, panels)) {
        for (std::int64_t i = r; i < r + count; ++i) {
          add_seen(keys, panels, panel, rows.lo, i, v, space);
        }
        continue;
      }
      // Weights beyond the last key that a row of the tile sees are 0.
      const std::int64_t lo = panels.lo / T::kPair;
      const std::int64_t hi = (std::min(tile.any.hi, keys.hi) - keys.lo + T::kPair - 1) / T::kPair;
      tiles.value(
          count, columns,
          reinterpret_cast<const std::uint32_t*>(space.s.data() + (r - rows.lo) * s_stride_) + lo,
          s_stride_, v + lo * T::kPanel, hi - lo,
          space.o.data() + r * o_stride_ + panel * T::kPanel, o_stride_,
          tile.begun ? space.alpha.data() + (r - rows.lo) : nullptr);
    }
  }

  // The same for one row beside a non-finite v.
  void add_seen(const KeyRange& keys, const KeyRange& panels, std::int64_t panel,
                std::int64_t first_row, std::int64_t r, const std::uint32_t* v,
                Space& space) const {
    float* o = space.o.data() + r * o_stride_ + panel * T::kPanel;
    const bool begun = space.tiles[r / T::kRows].begun;
    for (std::int64_t c = 0; c < T::kPanel; ++c) {
      o[c] = begun ? o[c] * space.alpha[r - first_row] : 0.0F;
    }
    this->add_seen_values(
        space.rows[r].terms, keys, panels,
        reinterpret_cast<const std::uint32_t*>(space.s.data() + (r - first_row) * s_stride_), v, o);
  }

  using BlockSoftmax<T>::p_;
  using BlockSoftmax<T>::steps_;
  using BlockSoftmax<T>::v_panels_;
  using BlockSoftmax<T>::q_stride_;
  using BlockSoftmax<T>::s_stride_;
  using BlockSoftmax<T>::o_stride_;
};

}  // namespace pareto
