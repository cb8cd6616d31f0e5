// What one block of keys does to the rows of a task in blocked attention, whatever the order of its
// tiles (key_blocks.h, tile_pipeline.h): strides and workspace, the softmax of a row, values that
// need care.
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
  KeyRange any;        ///< at least one row, so that all panels visited lie here
  KeyRange all;        ///< every row: scores of panels inside need no mask
  bool begun = false;  ///< o holds something
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

/// A row's weights in one block are 2^(factor·s − shift); what was summed before counts alpha
/// times.
struct RowWeights {
  float factor = 1;
  float shift = 0;
  float alpha = 1;
};

/// Common to all orders of tiles. A source of a block tells where its operands are:
///   keys()            the keys, at most block_keys() from a panel's first
///   k_panel(i)        panel i of K, whose steps are k_stride() apart
///   v_panel(i)        panel of columns i of V, from the block's first key
///   k_scale() v_scale()  per key from the block's first, or null
///   non_finite()      per panel of keys: does v hold a non-finite value there?
template <typename T>
class BlockSoftmax {
 public:
  [[nodiscard]] std::int64_t block_keys() const { return block_keys_; }
  /// Dwords from one step of K's panels to the next.
  [[nodiscard]] std::int64_t k_stride() const { return T::kPanel; }
  [[nodiscard]] std::int64_t q_stride() const { return q_stride_; }
  [[nodiscard]] std::int64_t o_stride() const { return o_stride_; }

 protected:
  /// `p` outlives it.
  explicit BlockSoftmax(const AttentionProblem& p)
      : p_(p),
        block_keys_(keys_per_block(p)),
        steps_(T::steps(p.head_dim)),
        v_panels_((p.head_dim_v + T::kPanel - 1) / T::kPanel),
        // An odd number of lines, lest rows fall into the same sets of L1.
        q_stride_((steps_ + 15) / 16 * 16 + 16),
        s_stride_(block_keys_ + 16),
        o_stride_(v_panels_ * T::kPanel + 16) {}

  /// q, s, o and the rows, for whole tiles, since some tiles always work on all of their rows.
  void reserve(std::int64_t rows, std::int64_t at_a_time, AttentionWorkspace<T>& space) const {
    rows = whole_tiles(rows);
    space.q = AlignedBuffer<std::uint32_t>(rows * q_stride_);
    space.s = AlignedBuffer<float>(whole_tiles(at_a_time) * s_stride_);
    space.o = AlignedBuffer<float>(rows * o_stride_);
    space.tiles = AlignedBuffer<TileKeys>(rows / T::kRows);
    space.rows.resize(static_cast<std::size_t>(rows));
  }
  static std::int64_t whole_tiles(std::int64_t rows) {
    return (rows + T::kRows - 1) / T::kRows * T::kRows;
  }

  /// The panels of `keys` that a tile of rows visits, relative to keys.lo; the last one up to whole
  /// registers of weights.
  static KeyRange panels_of(const KeyRange& tile, const KeyRange& keys) {
    const std::int64_t lo = std::max(tile.lo, keys.lo) - keys.lo;
    const std::int64_t hi = std::min(tile.hi, keys.hi) - keys.lo;
    if (lo >= hi) return {};
    constexpr std::int64_t kWeights = T::kLanes * T::kPair;
    return {lo / T::kPanel * T::kPanel, (hi + kWeights - 1) / kWeights * kWeights};
  }

  /// Brings the maximum of a row up to the block whose scores are s, which become logits where more
  /// than a factor and the rows' own ends lies between them. `all`: keys that need no mask;
  /// maxima(panels): the largest score of those.
  template <typename Source, typename Maxima>
  RowWeights aim(const KeyRange& panels, const KeyRange& all, Source& source, float* s,
                 const Maxima& maxima, TaskRow& row) const {
    const LogitTerms& terms = row.terms;
    const std::int64_t block_key = source.keys().lo;
    RowWeights weights{.factor = terms.factor};
    float most = 0;
    const bool plain = p_.plain_logits() && source.k_scale() == nullptr && terms.factor > 0;
    if (plain) {
      const std::int64_t all_hi = all.hi - block_key;
      const KeyRange whole = {(all.lo - block_key + T::kPanel - 1) / T::kPanel * T::kPanel,
                              all_hi >= panels.hi ? panels.hi : all_hi / T::kPanel * T::kPanel};
      most = maxima(KeyRange{std::max(panels.lo, whole.lo), std::min(panels.hi, whole.hi)});
      most =
          mask_panels<T>(terms.range, block_key, s, panels.lo, std::min(panels.hi, whole.lo), most);
      most = mask_panels<T>(terms.range, block_key, s, std::max({panels.lo, whole.lo, whole.hi}),
                            panels.hi, most);
      most *= terms.factor;
    }
    if (!plain || weighs_rounded<T>(most)) {
      most = apply_terms<T>(terms, source.k_scale(), block_key, s, panels.lo, panels.hi);
      weights.factor = 1;
    }
    // No branches: whether a block has a new maximum is hard to predict. With no key so far, every
    // weight and what was summed before shall count 2^−∞ = 0 times.
    const float before = row.state.max;
    row.state.max = before < most ? most : before;
    weights.shift = std::max(row.state.max, std::numeric_limits<float>::lowest());
    weights.alpha = exp2_once<T>(before - weights.shift);
    return weights;
  }

  template <typename Source>
  static bool any_non_finite(Source& source, const KeyRange& panels) {
    const std::uint8_t* odd = source.non_finite();
    return std::any_of(odd + panels.lo / T::kPanel, odd + (panels.hi + T::kPanel - 1) / T::kPanel,
                       [](std::uint8_t flag) { return flag != 0; });
  }

  /// o += p·V of one panel of columns for one row beside a non-finite v: keys that the row does not
  /// see have weight 0, but 0·∞ is not 0.
  static void add_seen_values(const LogitTerms& terms, const KeyRange& keys, const KeyRange& panels,
                              const std::uint32_t* p, const std::uint32_t* v, float* o) {
    for (std::int64_t j = panels.lo; j < std::min(panels.hi, keys.size()); ++j) {
      if (!terms.sees(keys.lo + j)) continue;
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
