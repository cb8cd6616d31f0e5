// One block of keys of blocked attention as a pipeline: while the vector units turn the scores of
// some rows into weights, the tile unit multiplies P·V of the rows before and the scores of those
// after.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy, and T::Tiles
// (amx_tiles.h) multiplies T::kRows rows.
//
// A unit is two tiles of rows, so that a half panel of K, or as much of V, serves both while it is
// in L1. In its period, P·V of the unit before comes first, then the scores of the unit after,
// which may take the former's place: two units of s are enough. Both run through panels that a
// tile's rows see alone. P·V goes through 128 keys at a time and all columns of o, so that weights
// stay in L1; o, in L2, is read and written as often. At head_dim 128 and 512 keys, a tile has 512
// products of 16 cycles and 32 rows of some 250 cycles: as many, and 16 products come to a row.
#pragma once

#include <algorithm>
#include <cstdint>

#include "harness/aligned_buffer.h"
#include "kernels/attention/block_softmax.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/task_rows.h"
#include "kernels/attention/tile_queue.h"
#include "reference/attention.h"

namespace pareto {

/// Blocks of keys for all threads, from a source as block_softmax.h says.
template <typename T>
class TilePipeline : public BlockSoftmax<T> {
 public:
  using Tiles = typename T::Tiles;
  struct Space : AttentionWorkspace<T> {
    AlignedBuffer<TilePiece> pieces;
  };

  /// `p` outlives it.
  explicit TilePipeline(const AttentionProblem& p)
      : BlockSoftmax<T>(p), v_halves_((p.head_dim_v + kHalf - 1) / kHalf) {}

  /// Room for tasks of up to `rows` rows.
  [[nodiscard]] Space make_space(std::int64_t rows) const {
    Space space;
    this->reserve(rows, std::min(rows, 2 * kUnitRows), space);
    const std::int64_t chunks = (this->block_keys_ + kChunkKeys - 1) / kChunkKeys;
    space.pieces =
        AlignedBuffer<TilePiece>(kUnitTiles * (this->block_keys_ / kHalf + chunks * v_halves_));
    return space;
  }

  /// Before the first block of a task of `rows` rows: products are added to o.
  void begin(std::int64_t rows, Space& space) const {
    std::fill_n(space.o.data(), rows * this->o_stride_, 0.0F);
  }

  /// o and the softmax of rows [0, rows) go on over one block.
  template <typename Source>
  void visit_all(std::int64_t rows, Source& source, Tiles& tiles, Space& space) const {
    Queue queue(space.pieces.data(), tiles);
    Unit before;
    Unit now;
    for (Unit after = unit(0, rows, space);; after = unit(after.hi, rows, space)) {
      push_values(before, source, space, queue);
      push_scores(after, source, space, queue);
      soften(now, source, space, queue);
      if (now.lo == now.hi && after.lo == after.hi) return;
      before = now;
      now = after;
    }
  }

 private:
  using Queue = TileQueue<Tiles>;
  static constexpr int kUnitTiles = 2;
  static constexpr std::int64_t kUnitRows = kUnitTiles * T::kRows;
  static constexpr std::int64_t kHalf = Tiles::kHalfColumns;
  // P·V of so many keys at a time: 16 products of a tile and half a panel.
  static constexpr std::int64_t kChunkSteps = 4;
  static constexpr std::int64_t kStepKeys = std::int64_t{Tiles::kStepDwords} * T::kPair;
  static constexpr std::int64_t kChunkKeys = kChunkSteps * kStepKeys;
  static_assert(T::kPanel % kHalf == 0 && T::kPanel % kStepKeys == 0);

  /// Rows [lo, hi) of the task and where their scores are.
  struct Unit {
    std::int64_t lo = 0;
    std::int64_t hi = 0;
    float* s = nullptr;
  };

  /// The largest score where nobody took it along.
  struct ReadMaxima {
    const float* s;
    float operator()(const KeyRange& panels) const {
      return max_panels<T>(s, panels.lo, panels.hi);
    }
  };

  /// Tile steps after every panel of weights.
  struct Tick {
    Queue& queue;
    __attribute__((always_inline)) void operator()() const { queue.tick(); }
  };

  Unit unit(std::int64_t lo, std::int64_t rows, Space& space) const {
    return {lo, std::min(lo + kUnitRows, rows),
            space.s.data() + lo / kUnitRows % 2 * kUnitRows * this->s_stride_};
  }
  [[nodiscard]] float* scores_of(const Unit& unit, std::int64_t r) const {
    return unit.s + (r - unit.lo) * this->s_stride_;
  }
  [[nodiscard]] float* o_of(std::int64_t r, Space& space) const {
    return space.o.data() + r * this->o_stride_;
  }

  // Half panels that no row of a tile sees stay out.
  template <typename Source>
  void push_scores(const Unit& unit, Source& source, Space& space, Queue& queue) const {
    const KeyRange& keys = source.keys();
    for (std::int64_t at = 0; at < keys.size(); at += kHalf) {
      const std::uint32_t* k = source.k_panel(at / T::kPanel) + at % T::kPanel;
      for (std::int64_t r = unit.lo; r < unit.hi; r += T::kRows) {
        const KeyRange& seen = space.tiles[r / T::kRows].any;
        const KeyRange panels = this->panels_of(seen, keys);
        if (at < panels.lo || at >= std::min(panels.hi, seen.hi - keys.lo)) continue;
        queue.push({.a = space.q.data() + r * this->q_stride_,
                    .lda = this->q_stride_,
                    .b = k,
                    .steps = this->steps_ / Tiles::kStepDwords,
                    .c = scores_of(unit, r) + at,
                    .ldc = this->s_stride_});
      }
    }
  }

  // o += P·V. What has to be done with care is done at once.
  template <typename Source>
  void push_values(const Unit& unit, Source& source, Space& space, Queue& queue) const {
    KeyRange steps[kUnitTiles];
    for (std::int64_t r = unit.lo; r < unit.hi; r += T::kRows) {
      steps[(r - unit.lo) / T::kRows] = value_steps(unit, r, source, space);
    }
    for (std::int64_t step = 0; step * kStepKeys < source.keys().size(); step += kChunkSteps) {
      for (std::int64_t half = 0; half < v_halves_; ++half) {
        for (std::int64_t r = unit.lo; r < unit.hi; r += T::kRows) {
          const KeyRange& all = steps[(r - unit.lo) / T::kRows];
          const std::int64_t lo = std::max(step, all.lo);
          const std::int64_t count = std::min(step + kChunkSteps, all.hi) - lo;
          if (count > 0) queue.push(value_piece(unit, r, half, {lo, lo + count}, source, space));
        }
      }
    }
  }

  template <typename Source>
  TilePiece value_piece(const Unit& unit, std::int64_t r, std::int64_t half, const KeyRange& steps,
                        Source& source, Space& space) const {
    const std::int64_t column = half * kHalf;
    return {.a = reinterpret_cast<const std::uint32_t*>(scores_of(unit, r)) +
                 steps.lo * Tiles::kStepDwords,
            .lda = this->s_stride_,
            .b = source.v_panel(column / T::kPanel) + steps.lo * Tiles::kStepColumnDwords +
                 column % T::kPanel,
            .steps = steps.size(),
            .c = o_of(r, space) + column,
            .ldc = this->o_stride_,
            .add = true};
  }

  // Steps of keys with weights that the tile at row r has yet to multiply by V; weights are 0 from
  // the last key that one of its rows sees to a whole step.
  template <typename Source>
  KeyRange value_steps(const Unit& unit, std::int64_t r, Source& source, Space& space) const {
    const KeyRange& keys = source.keys();
    const KeyRange& seen = space.tiles[r / T::kRows].any;
    const KeyRange panels = this->panels_of(seen, keys);
    if (panels.size() == 0) return {};
    if (!this->any_non_finite(source, panels)) {
      return {panels.lo / kStepKeys,
              (std::min(seen.hi, keys.hi) - keys.lo + kStepKeys - 1) / kStepKeys};
    }
    for (std::int64_t i = r; i < std::min(r + T::kRows, unit.hi); ++i) {
      const auto* p = reinterpret_cast<const std::uint32_t*>(scores_of(unit, i));
      for (std::int64_t panel = 0; panel < this->v_panels_; ++panel) {
        this->add_seen_values(space.rows[i].terms, keys, panels, p, source.v_panel(panel),
                              o_of(i, space) + panel * T::kPanel);
      }
    }
    return {};
  }

  // Weights of a unit, with the steps in the queue spread over them.
  template <typename Source>
  void soften(const Unit& unit, Source& source, Space& space, Queue& queue) const {
    std::int64_t panels = 0;
    for (std::int64_t r = unit.lo; r < unit.hi; r += T::kRows) {
      panels +=
          (std::min(r + T::kRows, unit.hi) - r) *
          ((this->panels_of(space.tiles[r / T::kRows].any, source.keys()).size() + T::kPanel - 1) /
           T::kPanel);
    }
    queue.spread_over(panels);
    for (std::int64_t r = unit.lo; r < unit.hi; r += T::kRows) {
      soften_tile(unit, r, source, space, queue);
    }
    queue.finish();
  }

  // The maximum of the next row is looked for ahead of a row's weights: it waits for L2 and for a
  // chain of comparisons.
  template <typename Source>
  void soften_tile(const Unit& unit, std::int64_t r, Source& source, Space& space,
                   Queue& queue) const {
    const KeyRange panels = this->panels_of(space.tiles[r / T::kRows].any, source.keys());
    if (panels.size() == 0) return;
    const std::int64_t end = std::min(r + T::kRows, unit.hi);
    RowWeights next = aim_at(unit, r, panels, source, space);
    for (std::int64_t i = r; i < end; ++i) {
      const RowWeights weights = next;
      if (i + 1 < end) next = aim_at(unit, i + 1, panels, source, space);
      scale_row(weights.alpha, o_of(i, space));
      const float sum = weigh<T>(scores_of(unit, i), panels.lo, panels.hi, weights.factor,
                                 weights.shift, source.v_scale(), Tick{queue});
      space.rows[i].state.sum = space.rows[i].state.sum * weights.alpha + sum;
    }
  }

  template <typename Source>
  RowWeights aim_at(const Unit& unit, std::int64_t r, const KeyRange& panels, Source& source,
                    Space& space) const {
    float* s = scores_of(unit, r);
    return this->aim(panels, space.tiles[r / T::kRows].all, source, s, ReadMaxima{s},
                     space.rows[r]);
  }

  // Always, though most factors are 1: 8 cycles at 128 columns, and a branch would often be
  // mispredicted, which takes back all that the tile unit has done ahead.
  void scale_row(float factor, float* o) const {
    const auto by = T::V::set1(factor);
    for (std::int64_t c = 0; c < this->p_.head_dim_v; c += T::kLanes) {
      T::store_floats(o + c, T::V::mul(by, T::load_floats(o + c)));
    }
  }

  std::int64_t v_halves_;  ///< half panels of columns of V
};

}  // namespace pareto
