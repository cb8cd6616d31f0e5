// The rows of short attention and what is done with them: scores, weights, P·V.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
//
// A row's weights are made in registers, divisions and logarithms are taken for a register of rows,
// and rows are read and written where they lie. A tile of rows multiplies only keys that one of its
// rows sees.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <span>

#include "harness/aligned_buffer.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/narrow_products.h"
#include "kernels/attention/register_tiles.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/short_kv.h"
#include "kernels/attention/short_weights.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

template <typename T>
class ShortRows {
 public:
  /// So many that their scores stay in L1 beside K or V.
  static constexpr std::int64_t kRowsAtATime = 48;

  struct Row {
    std::int64_t head = 0;
    std::int64_t query = 0;
    std::int64_t row = 0;  ///< of q and o
    KeyRange keys;         ///< left by masks and windows
  };
  /// Rows first … first + rows − 1 of those at hand, all of one KV head.
  struct Tile {
    std::int64_t first = 0;
    std::int64_t rows = 0;
    std::int64_t keys = 0;  ///< the last that a row sees, and one
    const AttentionSequence* sequence = nullptr;
    const ShortKv<T>* kv = nullptr;
    const std::uint32_t* q = nullptr;
    float* o = nullptr;
  };
  /// Of one thread.
  struct Space {
    AlignedBuffer<std::uint32_t> q;  ///< [rows][q_stride_], unless read in place
    AlignedBuffer<float> s;          ///< [rows][kStride]: scores, then weights
    AlignedBuffer<float> o;          ///< [rows][o_stride_], unless written in place
    AlignedBuffer<float> max;        ///< [rows], in units of log 2
    AlignedBuffer<float> sum;        ///< [rows], of the weights
    AlignedBuffer<float> factor;     ///< [rows], of P·V
    AlignedBuffer<float> lse;        ///< [rows]
    // What is at hand: rows of one task or of several.
    std::int64_t count = 0;
    std::int64_t tile_count = 0;
    std::int64_t block_count = 0;
    std::array<Row, kRowsAtATime> rows;
    std::array<Tile, kRowsAtATime> tiles;
    std::array<RowBlock, kRowsAtATime> blocks;
  };

  explicit ShortRows(const AttentionProblem& p)
      : p_(p),
        steps_(T::steps(p.head_dim)),
        v_panels_((p.head_dim_v + T::kPanel - 1) / T::kPanel),
        plain_(p.plain_logits() && p.q_dtype != DType::kE4m3 && p.scale > 0),
        narrow_(ShortKvSpace<T>::is_narrow(p)),
        q_in_place_(T::kPair == 1 && p.q_dtype == T::kWord && !p.ragged_q() &&
                    (!narrow_ || p.head_dim % T::kLanes == 0)),
        o_in_place_(p.out_dtype == DType::kF32 && p.head_dim_v % T::kLanes == 0 && !p.ragged_q()),
        // An odd number of lines, lest rows fall into the same sets of L1.
        q_stride_(q_in_place_ ? p.head_dim : (steps_ + 31) / 32 * 32 + 16),
        o_stride_(o_in_place_ ? p.head_dim_v : v_panels_ * T::kPanel + 16) {}

  [[nodiscard]] Space make_space() const {
    Space space;
    if (!q_in_place_) space.q = AlignedBuffer<std::uint32_t>(kRowsAtATime * q_stride_);
    if (!o_in_place_) space.o = AlignedBuffer<float>(kRowsAtATime * o_stride_);
    space.s = AlignedBuffer<float>(kRowsAtATime * kStride);
    space.max = AlignedBuffer<float>(kRowsAtATime);
    space.sum = AlignedBuffer<float>(kRowsAtATime);
    space.factor = AlignedBuffer<float>(kRowsAtATime);
    space.lse = AlignedBuffer<float>(kRowsAtATime);
    return space;
  }

  /// Takes `count` rows of a task to those at hand, from `next` on, which becomes the one behind.
  void add(const AttentionCall& call, const RowBlock& block, const ShortKv<T>& kv,
           std::int64_t count, Row& next, Space& space) const {
    const AttentionSequence& s = block.sequence;
    for (std::int64_t i = space.count; i < space.count + count; ++i) {
      next.row = s.q_row(next.head, next.query);
      next.keys = p_.visible(next.query, s.seq_q, s.seq_kv);
      space.rows[i] = next;
      if (!q_in_place_) {
        T::pack_q(call.in[kAttentionQ], next.row * p_.head_dim, p_.head_dim,
                  space.q.data() + i * q_stride_);
      }
      if (++next.query == block.first_query + block.queries) {
        next.query = block.first_query;
        ++next.head;
      }
    }
    add_tiles(call, {.sequence = &s, .kv = &kv}, count, space);
  }

  /// All rows at hand, each step for all of them: what a row waits for, others fill.
  void finish(const AttentionCall& call, Space& space) const {
    const std::span<const Tile> tiles(space.tiles.data(), space.tile_count);
    for (std::int64_t panel = 0; panel < T::kShortPanels; ++panel) {
      for (const Tile& tile : tiles) score(tile, panel, space);
    }
    for (const Tile& tile : tiles) weigh_tile(call, tile, space);
    normalize(call, tiles, space);
    if (kNarrowValues && narrow_) {
      for (const Tile& tile : tiles) {
        if (!tile.kv->non_finite) sum_narrow(tile, space);
      }
    } else {
      for (std::int64_t panel = 0; panel < v_panels_; ++panel) {
        for (const Tile& tile : tiles) {
          if (!tile.kv->non_finite) sum_values(tile, panel, space);
        }
      }
    }
    for (const Tile& tile : tiles) {
      if (tile.kv->non_finite) sum_seen(call, tile, space);
    }
    store(call, tiles, space);
    space.count = space.tile_count = space.block_count = 0;
  }

 private:
  static constexpr std::int64_t kStride = T::kShortPanels * T::kPanel + 16;  // of scores

  // Tiles of equal height, but for one row: a low one costs as much as a higher one.
  void add_tiles(const AttentionCall& call, Tile tile, std::int64_t count, Space& space) const {
    const auto tiles = (static_cast<std::uint32_t>(count) + T::kRows - 1) / T::kRows;
    const std::int64_t height = tiles <= 1 ? count : static_cast<std::uint32_t>(count) / tiles;
    std::int64_t higher = count - height * tiles;
    for (std::uint32_t t = 0; t < tiles; ++t, --higher) {
      tile.first = space.count;
      tile.rows = height + (higher > 0 ? 1 : 0);
      tile.keys = 0;
      space.count += tile.rows;
      for (std::int64_t i = tile.first; i < space.count; ++i) {
        tile.keys = std::max(tile.keys, space.rows[i].keys.hi);
      }
      // Rows of a task follow one another where all sequences are equally long.
      const std::int64_t row = space.rows[tile.first].row;
      tile.q = q_in_place_
                   ? call.in[kAttentionQ].template as<const std::uint32_t>() + row * p_.head_dim
                   : space.q.data() + tile.first * q_stride_;
      tile.o = o_in_place_ ? call.o.as<float>() + row * p_.head_dim_v
                           : space.o.data() + tile.first * o_stride_;
      space.tiles[space.tile_count++] = tile;
    }
  }

  static constexpr int kRegisters = T::kShortPanels * T::kColumns;  // of scores of a row

  // Where panels of columns are narrow, a call for each would cost more than a few keys' products.
  static constexpr bool kNarrowValues = T::kShortPanels > 1;

  static std::int64_t registers(std::int64_t count) { return (count + T::kLanes - 1) / T::kLanes; }

  // Registers of a tile's keys in one panel of them.
  static std::int64_t columns(const Tile& tile, std::int64_t panel) {
    if constexpr (T::kShortPanels == 1) return registers(tile.keys);
    return std::min<std::int64_t>(T::kColumns, registers(tile.keys - panel * T::kPanel));
  }

  void score(const Tile& tile, std::int64_t panel, Space& space) const {
    if (panel == 0 ? tile.keys == 0 : tile.keys <= panel * T::kPanel) return;
    if (narrow_) {
      switch (tile.kv->k_stride) {
        case 1:
          return score_narrow<1>(tile, space);
        case 2:
          return score_narrow<2>(tile, space);
        default:
          return score_narrow<4>(tile, space);
      }
    }
    RegisterTiles<T>::products(tile.rows, columns(tile, panel), tile.q, q_stride_,
                               tile.kv->k + panel * T::kPanel * steps_, tile.kv->k_stride, steps_,
                               space.s.data() + tile.first * kStride + panel * T::kPanel, kStride,
                               nullptr);
  }

  // Lanes hold N keys of kLanes / N steps, so that q is spread over the keys and the steps are
  // summed at the end. Lanes of other keys hold anything.
  template <int N>
  void score_narrow(const Tile& tile, Space& space) const {
    using Reg = typename T::Reg;
    for (std::int64_t r = 0; r < tile.rows; ++r) {
      const std::uint32_t* q = tile.q + r * q_stride_;
      const std::uint32_t* k = tile.kv->k;
      Reg sum[N];
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[n] = T::V::set1(0.0F);
      for (std::int64_t step = 0; step < steps_; step += T::kLanes) {
        const Reg x = T::load(q + step);
#pragma GCC unroll 4
        for (int n = 0; n < N; ++n, k += T::kLanes) {
          sum[n] = T::multiply_add(sum[n], T::load(k), T::template spread<N>(x, n));
        }
      }
#pragma GCC unroll 4
      for (int n = 1; n < N; ++n) sum[0] = T::V::add(sum[0], sum[n]);
      T::store_floats(space.s.data() + (tile.first + r) * kStride,
                      T::template sum_spread<N>(sum[0]));
    }
  }

  void weigh_tile(const AttentionCall& call, const Tile& tile, Space& space) const {
    // Whole registers of weights.
    const std::int64_t words = (registers(tile.keys) + T::kPair - 1) / T::kPair;
    if constexpr (kRegisters > 4) {
      if (words > 6) return weigh_rows<kRegisters>(call, tile, space);
      if (words > 4) return weigh_rows<6>(call, tile, space);
    }
    switch (words) {
      case 0:
        for (std::int64_t i = tile.first; i < tile.first + tile.rows; ++i) {
          space.max[i] = -std::numeric_limits<float>::infinity();
          space.sum[i] = 0;
        }
        return;
      case 1:
        return weigh_rows<T::kPair>(call, tile, space);
      case 2:
        return weigh_rows<std::min(2 * T::kPair, kRegisters)>(call, tile, space);
      case 3:
        return weigh_rows<std::min(3 * T::kPair, kRegisters)>(call, tile, space);
      default:
        return weigh_rows<std::min(4 * T::kPair, kRegisters)>(call, tile, space);
    }
  }

  template <int C>
  void weigh_rows(const AttentionCall& call, const Tile& tile, Space& space) const {
    constexpr double kLog2E = 1.44269504088896341;
    const auto factor = static_cast<float>(p_.scale * tile.kv->scales.k * kLog2E);
    for (std::int64_t i = tile.first; i < tile.first + tile.rows; ++i) {
      float* s = space.s.data() + i * kStride;
      // Keys that are not there score −∞, which a factor that fp32 rounds to 0 would make NaN.
      if (plain_ && factor > 0) {
        weigh_few<T, C>(space.rows[i].keys, factor, s, space.max[i], space.sum[i]);
        continue;
      }
      const LogitTerms terms = terms_of(call, tile, space.rows[i]);
      apply_terms<T>(terms, nullptr, 0, s, 0, C * T::kLanes);
      weigh_few<T, C>({0, C * T::kLanes}, 1, s, space.max[i], space.sum[i]);
    }
  }

  LogitTerms terms_of(const AttentionCall& call, const Tile& tile, const Row& row) const {
    return terms_of_query(p_, call, *tile.sequence, row.head, row.query, tile.kv->scales.k);
  }

  // What P·V is multiplied by, and LSE.
  void normalize(const AttentionCall& call, std::span<const Tile> tiles, Space& space) const {
    using V = typename T::V;
    constexpr float kLn2 = 0x1.62e43p-1F;
    for (std::int64_t i = 0; call.sinks == nullptr && i < space.count; i += T::kLanes) {
      const auto sum = T::load_floats(space.sum.data() + i);
      const auto max = T::load_floats(space.max.data() + i);
      T::store_floats(space.factor.data() + i, V::div(V::set1(1.0F), sum));
      T::store_floats(space.lse.data() + i, V::fma(max, V::set1(kLn2), T::log(sum)));
    }
    for (std::int64_t i = 0; call.sinks != nullptr && i < space.count; ++i) {
      const FinishedRow finished =
          finish_row({space.max[i], space.sum[i]}, call.sinks[space.rows[i].head]);
      space.factor[i] = finished.factor;
      space.lse[i] = finished.lse;
    }
    if (p_.kv_dtype != DType::kE4m3) return;
    for (const Tile& tile : tiles) {
      if (late_scale(tile) != 1) continue;
      for (std::int64_t r = 0; r < tile.rows; ++r) {
        space.factor[tile.first + r] *= tile.kv->scales.v;
      }
    }
  }

  // The scale of V's codes where a factor times it would be subnormal and lose bits: it comes last.
  static float late_scale(const Tile& tile) {
    const float scale = tile.kv->scales.v;
    return scale < 0x1p-100F ? scale : 1;
  }

  void sum_values(const Tile& tile, std::int64_t panel, Space& space) const {
    const std::int64_t columns =
        std::min<std::int64_t>(T::kColumns, registers(p_.head_dim_v - panel * T::kPanel));
    RegisterTiles<T>::products(tile.rows, columns, words(tile.first, space), kStride,
                               tile.kv->v + panel * tile.kv->v_panel, tile.kv->v_stride,
                               (tile.keys + T::kPair - 1) / T::kPair, tile.o + panel * T::kPanel,
                               o_stride_, space.factor.data() + tile.first);
  }

  // The same for all columns of a narrow cache. Rows without a key are stored apart.
  void sum_narrow(const Tile& tile, Space& space) const {
    if (tile.keys == 0) return;
    narrow_products<T>(tile.rows, tile.keys, p_.head_dim_v, words(tile.first, space), kStride,
                       space.factor.data() + tile.first, *tile.kv, tile.o, o_stride_);
  }

  // The same for rows beside a non-finite v: keys that a row does not see have weight 0, but 0·∞ is
  // not 0.
  void sum_seen(const AttentionCall& call, const Tile& tile, Space& space) const {
    for (std::int64_t r = 0; r < tile.rows; ++r) {
      const std::int64_t i = tile.first + r;
      const LogitTerms terms = terms_of(call, tile, space.rows[i]);
      for (std::int64_t c = 0; c < p_.head_dim_v; ++c) {
        float sum = 0;
        for (std::int64_t j = terms.range.lo; j < terms.range.hi; ++j) {
          if (terms.sees(j)) sum += T::word_at(words(i, space), j) * tile.kv->value(j, c);
        }
        tile.o[r * o_stride_ + c] = sum * space.factor[i];
      }
    }
  }

  static std::uint32_t* words(std::int64_t i, Space& space) {
    return reinterpret_cast<std::uint32_t*>(space.s.data() + i * kStride);
  }

  void store(const AttentionCall& call, std::span<const Tile> tiles, const Space& space) const {
    float* lse = call.lse.as<float>();
    for (const Tile& tile : tiles) {
      for (std::int64_t r = 0; r < tile.rows; ++r) {
        const std::int64_t i = tile.first + r;
        const std::int64_t row = space.rows[i].row;
        if (space.max[i] == -std::numeric_limits<float>::infinity() && space.sum[i] == 0) {
          call.store_empty(row, p_.head_dim_v);
        } else if (!o_in_place_ || late_scale(tile) != 1) {
          T::store_row(call.o, row * p_.head_dim_v, p_.head_dim_v, tile.o + r * o_stride_,
                       late_scale(tile));
        }
        lse[row] = space.lse[i];
      }
    }
  }

  AttentionProblem p_;
  std::int64_t steps_;
  std::int64_t v_panels_;
  bool plain_;   ///< logits are one factor times q·k, and it is positive
  bool narrow_;  ///< K is
  bool q_in_place_;
  bool o_in_place_;
  std::int64_t q_stride_;  ///< dwords from one row to the next
  std::int64_t o_stride_;
};

}  // namespace pareto
