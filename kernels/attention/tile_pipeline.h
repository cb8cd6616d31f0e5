// One block of keys of blocked attention as a pipeline: while the vector units turn the scores of
// some rows into weights, the tile unit multiplies P·V of the rows before and the scores of those
// after.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy, and T::Tiles
// (amx_tiles.h) multiplies T::kRows rows.
//
// A strip is one tile of rows and 256 keys, of which it visits the squares, 32 keys each, that one
// of its rows sees. Squares are softened in pairs, through all strips. In a pair's time the scores
// of its second square are multiplied, then P·V of the strip before, 32 columns and all 256 keys at
// a time, then the scores of the next pair's first square: at head_dim 128, 4, 8 and 4 steps of
// four products each. So L1 holds what is used again: weights of a strip (16 KiB) beside those that
// are written, two squares of scores (8 KiB), q of a tile (8 KiB); K and V stream from L2 and o
// passes through.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "harness/aligned_buffer.h"
#include "kernels/attention/block_softmax.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/square_softmax.h"
#include "kernels/attention/task_rows.h"
#include "kernels/attention/tile_queue.h"
#include "reference/attention.h"

namespace pareto {

/// A tile of rows and the squares that it visits, counted from the block's first key.
struct TileStrip {
  std::int64_t row = 0;
  KeyRange squares;
};

/// Blocks of keys for all threads, from a source as block_softmax.h says.
template <typename T>
class TilePipeline : public BlockSoftmax<T> {
 public:
  using Tiles = typename T::Tiles;
  // q and o shall stay in L2 beside a block of keys: 5 % at head_dim 128.
  static constexpr std::int64_t kTaskBytes = kPrefillTaskBytes / 2;
  struct Space : AttentionWorkspace<T> {
    AlignedBuffer<RowAim> aims;            ///< [rows]
    AlignedBuffer<float> sums;             ///< [rows]: WeightSums
    AlignedBuffer<std::uint32_t> weights;  ///< [2][squares of a strip][tile rows][kStepDwords]
    AlignedBuffer<TilePiece> pieces;
    AlignedBuffer<float> nowhere;
    AlignedBuffer<TileStrip> strips;  ///< of one block
    bool plain = false;               ///< logits are the rows' factors times scores
  };

  /// `p` outlives it.
  explicit TilePipeline(const AttentionProblem& p)
      : BlockSoftmax<T>(p), v_halves_((p.head_dim_v + kHalf - 1) / kHalf) {}

  /// Room for tasks of up to `rows` rows.
  [[nodiscard]] Space make_space(std::int64_t rows) const {
    Space space;
    this->reserve(rows, 0, space);
    rows = this->whole_tiles(rows);
    space.s = AlignedBuffer<float>(kScores * kSquareFloats);
    space.aims = AlignedBuffer<RowAim>(rows);
    space.sums = AlignedBuffer<float>(rows * 2 * T::kLanes);
    space.weights = AlignedBuffer<std::uint32_t>(2 * kStripSquares * kSquareWeights);
    space.pieces = AlignedBuffer<TilePiece>(v_halves_ + 2);
    space.nowhere = AlignedBuffer<float>(kHalf);
    space.strips = AlignedBuffer<TileStrip>(rows / T::kRows * (this->block_keys_ / kStripKeys));
    return space;
  }

  /// Before the first block of a task of `rows` rows.
  void begin(std::int64_t rows, Space& space) const {
    std::fill_n(space.o.data(), rows * this->o_stride_, 0.0F);
    std::fill_n(space.sums.data(), space.sums.size(), 0.0F);
    std::fill_n(space.aims.data(), space.aims.size(), RowAim{});
    space.plain = this->p_.plain_logits() && this->p_.kv_dtype != DType::kS8;
    for (std::int64_t r = 0; r < rows; ++r) {
      space.aims[r].factor = space.rows[r].terms.factor;
      space.plain = space.plain && space.aims[r].factor > 0;
    }
  }
  /// After the last.
  void end(std::int64_t rows, Space& space) const {
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* sums = space.sums.data() + r * 2 * T::kLanes;
      const float exact = T::reduce_add(T::load_floats(sums));
      const float rounded = T::reduce_add(T::load_floats(sums + T::kLanes));
      space.rows[r].state.sum = exact;
      if (exact < kFar * rounded) scale_o(exact / rounded, r, space);
    }
  }

  /// o and the softmax of rows [0, rows) go on over one block.
  template <typename Source>
  void visit_all(std::int64_t rows, Source& source, Tiles& tiles, Space& space) const {
    Walk<Source> walk{source, space, Queue(space.pieces.data(), space.nowhere.data(), tiles), rows};
    lay_strips(walk);
    push_scores(walk, 0);
    walk.queue.finish();
    for (std::int64_t i = 0; i < walk.strips; ++i) {
      // Rows whose P·V is under way cannot be scaled.
      if (i > 0 && walk.row(i - 1) == walk.row(i)) finish_values(walk);
      if (i > 0 && walk.row(std::max<std::int64_t>(i - 2, 0)) == walk.row(i)) walk.queue.settle();
      soften_strip(walk, i);
      finish_values(walk);
      begin_values(walk, i);
    }
    finish_values(walk);
    walk.queue.settle();
  }

 private:
  using Queue = TileQueue<Tiles>;
  static constexpr std::int64_t kHalf = Tiles::kHalfColumns;
  static constexpr std::int64_t kStripKeys = 256;
  static constexpr std::int64_t kStripSquares = kStripKeys / kHalf;
  static constexpr std::int64_t kScores = 2;  ///< squares of scores under way
  static constexpr std::int64_t kSquareFloats = T::kRows * kHalf;
  static constexpr std::int64_t kSquareWeights = std::int64_t{T::kRows} * Tiles::kStepDwords;
  // Sums differ by rounding alone, unless one of them is 0 or not a number.
  static constexpr float kFar = 2;
  static_assert(kHalf == Square<T>::kKeys && T::kPanel == 2 * kHalf && T::kRows % 4 == 0);

  /// One call of visit_all.
  template <typename Source>
  struct Walk {
    Source& source;
    Space& space;
    Queue queue;
    std::int64_t rows = 0;
    std::int64_t strips = 0;
    std::int64_t scored_strip = 0;   ///< where the next of those is
    std::int64_t scored_square = 0;  ///< counted from the strip's first
    std::int64_t values_strip = 0;   ///< whose P·V is pushed
    std::int64_t values_half = 0;    ///< the next columns
    std::int64_t values_halves = 0;  ///< as many in all

    [[nodiscard]] const TileStrip& strip(std::int64_t i) const { return space.strips[i]; }
    [[nodiscard]] std::int64_t row(std::int64_t i) const { return strip(i).row; }
  };

  [[nodiscard]] static std::uint32_t* weights_of(std::int64_t strip, std::int64_t square,
                                                 Space& space) {
    return space.weights.data() +
           (strip % 2 * kStripSquares + square % kStripSquares) * kSquareWeights;
  }
  [[nodiscard]] float* o_of(std::int64_t r, Space& space) const {
    return space.o.data() + r * this->o_stride_;
  }

  // All tiles through 256 keys, then through the next.
  template <typename Source>
  void lay_strips(Walk<Source>& walk) const {
    const KeyRange& keys = walk.source.keys();
    for (std::int64_t at = 0; at < keys.size(); at += kStripKeys) {
      for (std::int64_t row = 0; row < walk.rows; row += T::kRows) {
        const KeyRange& seen = walk.space.tiles[row / T::kRows].any;
        const std::int64_t lo = std::max(seen.lo - keys.lo, at);
        const std::int64_t hi = std::min({seen.hi - keys.lo, at + kStripKeys, keys.size()});
        if (lo >= hi) continue;
        walk.space.strips[walk.strips++] = {row, {lo / kHalf, (hi + kHalf - 1) / kHalf}};
      }
    }
  }

  // The scores of one more square, if there is one, the first or second of its pair.
  template <typename Source>
  void push_scores(Walk<Source>& walk, std::int64_t of_pair) const {
    if (walk.scored_strip == walk.strips) return;
    const TileStrip& strip = walk.strip(walk.scored_strip);
    const std::int64_t square = strip.squares.lo + walk.scored_square;
    walk.queue.push({.a = walk.space.q.data() + strip.row * this->q_stride_,
                     .lda = this->q_stride_,
                     .a_step = Tiles::kStepDwords,
                     .b = walk.source.k_panel(square / 2) + square % 2 * kHalf,
                     .steps = this->steps_ / Tiles::kStepDwords,
                     .c = {walk.space.s.data() + of_pair * kSquareFloats, kHalf}});
    if (++walk.scored_square < strip.squares.size()) return;
    walk.scored_square = 0;
    ++walk.scored_strip;
  }

  // From now on P·V of strip i can be multiplied; what has to be done with care is done at once.
  template <typename Source>
  void begin_values(Walk<Source>& walk, std::int64_t i) const {
    const TileStrip& strip = walk.strip(i);
    walk.values_strip = i;
    walk.values_half = 0;
    walk.values_halves = v_halves_;
    const KeyRange keys{strip.squares.lo * kHalf, strip.squares.hi * kHalf};
    if (!this->any_non_finite(walk.source, keys)) return;
    walk.values_halves = 0;
    for (std::int64_t r = 0; r < std::min<std::int64_t>(T::kRows, walk.rows - strip.row); ++r) {
      for (std::int64_t j = strip.squares.lo; j < strip.squares.hi; ++j) {
        // Weights are looked up by the key's place in the block.
        const std::uint32_t* p = weights_of(i, j, walk.space) + (r - j) * Tiles::kStepDwords;
        for (std::int64_t panel = 0; panel < this->v_panels_; ++panel) {
          this->add_seen_values(walk.space.rows[strip.row + r].terms, walk.source.keys(),
                                {j * kHalf, (j + 1) * kHalf}, p, walk.source.v_panel(panel),
                                o_of(strip.row + r, walk.space) + panel * T::kPanel);
        }
      }
    }
  }

  // o += P·V in up to `halves` more half panels of columns.
  template <typename Source>
  void push_values(Walk<Source>& walk, std::int64_t halves) const {
    const TileStrip& strip = walk.strip(walk.values_strip);
    for (; halves > 0 && walk.values_half < walk.values_halves; --halves, ++walk.values_half) {
      const std::int64_t column = walk.values_half * kHalf;
      walk.queue.push({.a = weights_of(walk.values_strip, strip.squares.lo, walk.space),
                       .lda = Tiles::kStepDwords,
                       .a_step = kSquareWeights,
                       .b = walk.source.v_panel(column / T::kPanel) + column % T::kPanel +
                            strip.squares.lo * Tiles::kStepColumnDwords,
                       .steps = strip.squares.size(),
                       .c = {o_of(strip.row, walk.space) + column, this->o_stride_},
                       .add = true});
    }
  }
  template <typename Source>
  void finish_values(Walk<Source>& walk) const {
    push_values(walk, walk.values_halves);
    walk.queue.finish();
  }

  template <typename Source>
  void soften_strip(Walk<Source>& walk, std::int64_t i) const {
    const KeyRange& squares = walk.strip(i).squares;
    for (std::int64_t j = squares.lo; j < squares.hi; j += 2) {
      const bool two = j + 1 < squares.hi;
      if (two) push_scores(walk, 1);
      const std::int64_t pairs_left = (squares.hi - j + 1) / 2;
      const std::int64_t halves_left = walk.values_halves - walk.values_half;
      push_values(walk, (halves_left + pairs_left - 1) / pairs_left);
      push_scores(walk, 0);
      walk.queue.deliver(0);
      walk.queue.spread_over((two ? 2 : 1) * T::kRows / 4);
      soften(walk, i, {j, two ? j + 2 : j + 1});
      walk.queue.finish();
    }
  }

  // One or two squares of strip i.
  template <typename Source>
  void soften(Walk<Source>& walk, std::int64_t i, const KeyRange& squares) const {
    const TileStrip& strip = walk.strip(i);
    TileKeys& tile = walk.space.tiles[strip.row / T::kRows];
    Square<T> square{.scores = walk.space.s.data(),
                     .weights = weights_of(i, squares.lo, walk.space),
                     .sums = walk.space.sums.data() + strip.row * 2 * T::kLanes};
    const std::int64_t key = walk.source.keys().lo;
    std::int64_t done = 0;
    if (walk.space.plain && tile.begun && key + squares.lo * kHalf >= tile.all.lo &&
        key + squares.hi * kHalf <= tile.all.hi) {
      done = weigh_squares(square, squares.size(), walk.space.aims.data() + strip.row, walk.queue);
    }
    const std::int64_t count = std::min<std::int64_t>(T::kRows, walk.rows - strip.row);
    for (std::int64_t j = squares.lo; j < squares.hi; ++j, square = square.next()) {
      if (j > squares.lo) walk.queue.deliver(1);
      for (std::int64_t r = std::min<std::int64_t>(done, T::kRows); r < count; ++r) {
        if (r % 4 == 0) walk.queue.tick(NothingBetween{});
        soften_row(walk, i, j, r, square);
      }
      done = std::max<std::int64_t>(done - T::kRows, 0);
    }
    if (!tile.begun) tile.begun = all_begun(walk.space, strip.row, count);
  }

  // Do all rows have a shift?
  static bool all_begun(const Space& space, std::int64_t row, std::int64_t count) {
    return std::all_of(
        space.rows.begin() + row, space.rows.begin() + row + count,
        [](const TaskRow& r) { return r.state.max > -std::numeric_limits<float>::infinity(); });
  }

  // Row r of the tile, whatever its options; its shift moves if it has to.
  template <typename Source>
  void soften_row(Walk<Source>& walk, std::int64_t i, std::int64_t j, std::int64_t r,
                  const Square<T>& square) const {
    const TileStrip& strip = walk.strip(i);
    TaskRow& row = walk.space.rows[strip.row + r];
    RowAim& aim = walk.space.aims[strip.row + r];
    const float* k_scale = walk.source.k_scale();
    const float* v_scale = walk.source.v_scale();
    float factor = 1;
    const float most = largest_logit<T>(
        row.terms, walk.space.plain, k_scale == nullptr ? nullptr : k_scale + j * kHalf,
        walk.source.keys().lo + j * kHalf, square.scores + r * kHalf, factor);
    const float max = row.state.max;
    if (most > max + kSlack) {
      // From 2^128 on nothing is left of what was before, and a whole number might not be exact.
      const float rise = most - max;
      row.state.max = rise < 128 ? max + std::ceil(rise) : most;
      aim.minus_shift = -row.state.max;
      if (max > -std::numeric_limits<float>::infinity()) {
        scale_row(exp2_once<T>(max - row.state.max), walk, i, j, r, square.sums_of(r));
      }
    }
    square.add(r, square.weigh(r, {factor, aim.minus_shift},
                               v_scale == nullptr ? nullptr : v_scale + j * kHalf));
  }

  // What row r of strip i has summed before its square j, by a power of 2.
  template <typename Source>
  void scale_row(float factor, Walk<Source>& walk, std::int64_t i, std::int64_t j, std::int64_t r,
                 float* sums) const {
    const TileStrip& strip = walk.strip(i);
    const auto by = T::V::set1(factor);
    scale_o(factor, strip.row + r, walk.space);
    T::store_floats(sums, T::V::mul(by, T::load_floats(sums)));
    T::store_floats(sums + T::kLanes, T::V::mul(by, T::load_floats(sums + T::kLanes)));
    for (std::int64_t k = strip.squares.lo; k < j; ++k) {
      T::scale_weights(weights_of(i, k, walk.space) + r * Tiles::kStepDwords, by);
    }
  }

  void scale_o(float factor, std::int64_t r, Space& space) const {
    const auto by = T::V::set1(factor);
    float* o = o_of(r, space);
    for (std::int64_t c = 0; c < this->p_.head_dim_v; c += T::kLanes) {
      T::store_floats(o + c, T::V::mul(by, T::load_floats(o + c)));
    }
  }

  std::int64_t v_halves_;  ///< half panels of columns of V
};

}  // namespace pareto
