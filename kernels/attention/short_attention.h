// Attention on so few keys that one panel holds them: no online softmax, and no step that only long
// sequences pay back.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
//
// Such a call takes microseconds, so what every row costs beside its products counts: rows are read
// and written where they lie, a row's weights are made in registers, divisions and logarithms are
// taken for a register of rows. A tile of rows multiplies only keys that one of its rows sees.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "harness/aligned_buffer.h"
#include "harness/variant.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/short_kv.h"
#include "kernels/attention/softmax_rows.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

template <typename T>
class ShortAttention : public Prepared {
 public:
  /// int8 has scales per key, which would cost the others a branch per row.
  static bool takes(const AttentionProblem& p) {
    return p.seq_kv <= T::kPanel && p.kv_dtype != DType::kS8;
  }

  ShortAttention(const AttentionProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        blocks_(p, pool.size(), T::kPanel, T::kRows),
        kv_(p, p.decode() ? p.batch * p.heads_kv : blocks_.threads()),
        steps_(T::steps(p.head_dim)),
        v_panels_((p.head_dim_v + T::kPanel - 1) / T::kPanel),
        plain_(p.plain_logits() && p.q_dtype != DType::kE4m3 && p.scale > 0),
        narrow_(ShortKvSpace<T>::is_narrow(p)),
        q_in_place_(T::kPair == 1 && p.q_dtype == T::kWord && !p.ragged_q() &&
                    (!narrow_ || p.head_dim % T::kLanes == 0)),
        o_in_place_(p.out_dtype == DType::kF32 && p.head_dim_v % T::kLanes == 0 && !p.ragged_q()),
        // An odd number of lines, lest rows fall into the same sets of L1.
        q_stride_(q_in_place_ ? p.head_dim : (steps_ + 31) / 32 * 32 + 16),
        o_stride_(o_in_place_ ? p.head_dim_v : v_panels_ * T::kPanel + 16) {
    if (p.decode()) keep(in, pool);
    for (int thread = 0; thread < blocks_.threads(); ++thread) spaces_.push_back(make_space());
  }

  void run(const Call& call) override {
    AttentionCall now(call);
    if (p_.decode()) now.tables.cu_seqlens_kv = now.tables.seqlens_kv = lengths_.data();
    if (blocks_.threads() == 1) {
      for (std::int64_t task = 0; task < blocks_.tasks(); ++task) visit(now, task, 0);
      finish_rows(now, spaces_[0]);
    } else {
      next_task_.store(0, std::memory_order_relaxed);
      call.pool.run([&](int thread, int) { walk(now, thread); });
    }
    const KeyRange uncovered = uncovered_q_rows(p_, now.tables, now.lse);
    for (std::int64_t row = uncovered.lo; row < uncovered.hi; ++row) {
      now.store_empty(row, p_.head_dim_v);
    }
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return p_.decode() ? kv_.bytes() : 0; }

 private:
  // Their scores stay in L1 beside K or V.
  static constexpr std::int64_t kRowsAtATime = 48;
  static constexpr std::int64_t kStride = T::kPanel + 16;  // of scores

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

  // Decode: K and V are given to `prepare` alone, and where keys lie does not depend on queries.
  void keep(std::span<const Tensor> in, ThreadPool& pool) {
    AttentionTables tables = AttentionTables::from(in);
    const std::vector<std::int32_t> no_queries(static_cast<std::size_t>(p_.batch) + 1);
    tables.cu_seqlens_q = no_queries.data();
    for (const AttentionSlot slot : {kAttentionCuSeqlensKv, kAttentionSeqlensKv}) {
      const std::span<const std::int32_t> table = in[slot].span<const std::int32_t>();
      lengths_.insert(lengths_.end(), table.begin(), table.end());
    }
    kept_.resize(static_cast<std::size_t>(p_.batch * p_.heads_kv));
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.batch * p_.heads_kv, thread, threads);
      for (std::int64_t head = begin; head < end; ++head) {
        const auto sequence = AttentionSequence::of(p_, tables, head / p_.heads_kv);
        kept_[head] = kv_.pack(p_, in, sequence, head % p_.heads_kv, head);
      }
    });
  }

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

  void walk(const AttentionCall& call, int thread) {
    for (;;) {
      const std::int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
      if (task >= blocks_.tasks()) break;
      visit(call, task, thread);
    }
    finish_rows(call, spaces_[thread]);
  }

  // A prefill is done with the task when it returns, since the next one's K and V take the place of
  // this one's; rows of a decode may be left at hand.
  void visit(const AttentionCall& call, std::int64_t task, int thread) {
    Space& space = spaces_[thread];
    RowBlock* block = &space.blocks[space.block_count];
    if (!blocks_.block(task, call.tables, *block)) return;
    ++space.block_count;
    ShortKv<T> packed;
    if (!p_.decode()) packed = kv_.pack(p_, call.in, block->sequence, block->head_kv, thread);
    const ShortKv<T>& kv =
        p_.decode() ? kept_[block->sequence.b * p_.heads_kv + block->head_kv] : packed;
    Row next{.head = block->first_head, .query = block->first_query};
    for (std::int64_t left = block->rows(); left > 0;) {
      const std::int64_t count = std::min(left, kRowsAtATime - space.count);
      add_rows(call, *block, kv, count, next, space);
      left -= count;
      if (space.count < kRowsAtATime) break;
      const RowBlock rest = *block;
      finish_rows(call, space);
      space.blocks[space.block_count++] = rest;
      block = &space.blocks[0];
    }
    if (!p_.decode()) finish_rows(call, space);
  }

  // Takes `count` rows of a task to those at hand, from `next` on, which becomes the one behind.
  void add_rows(const AttentionCall& call, const RowBlock& block, const ShortKv<T>& kv,
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

  // All rows at hand, each step for all of them: what a row waits for, others fill.
  void finish_rows(const AttentionCall& call, Space& space) const {
    const std::span<const Tile> tiles(space.tiles.data(), space.tile_count);
    for (const Tile& tile : tiles) score(tile, space);
    for (const Tile& tile : tiles) weigh_tile(call, tile, space);
    normalize(call, tiles, space);
    for (std::int64_t panel = 0; panel < v_panels_; ++panel) {
      for (const Tile& tile : tiles) {
        if (!tile.kv->non_finite) sum_values(tile, panel, space);
      }
    }
    for (const Tile& tile : tiles) {
      if (tile.kv->non_finite) sum_seen(call, tile, space);
    }
    store(call, tiles, space);
    space.count = space.tile_count = space.block_count = 0;
  }

  static std::int64_t registers(std::int64_t count) { return (count + T::kLanes - 1) / T::kLanes; }

  void score(const Tile& tile, Space& space) const {
    if (tile.keys == 0) return;
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
    RegisterTiles<T>::products(tile.rows, registers(tile.keys), tile.q, q_stride_, tile.kv->k,
                               tile.kv->k_stride, steps_, space.s.data() + tile.first * kStride,
                               kStride, nullptr);
  }

  // Lanes hold N keys of 16 / N steps, so that q is spread over the keys and the steps are summed
  // at the end. Lanes of other keys hold anything.
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
    switch ((registers(tile.keys) + T::kPair - 1) / T::kPair) {
      case 0:
        for (std::int64_t i = tile.first; i < tile.first + tile.rows; ++i) {
          space.max[i] = -std::numeric_limits<float>::infinity();
          space.sum[i] = 0;
        }
        return;
      case 1:
        return weigh_rows<T::kPair>(call, tile, space);
      case 2:
        return weigh_rows<std::min(2 * T::kPair, T::kColumns)>(call, tile, space);
      case 3:
        return weigh_rows<std::min(3 * T::kPair, T::kColumns)>(call, tile, space);
      default:
        return weigh_rows<T::kColumns>(call, tile, space);
    }
  }

  template <int C>
  void weigh_rows(const AttentionCall& call, const Tile& tile, Space& space) const {
    constexpr double kLog2E = 1.44269504088896341;
    const auto factor = static_cast<float>(p_.scale * tile.kv->scales.k * kLog2E);
    for (std::int64_t i = tile.first; i < tile.first + tile.rows; ++i) {
      float* s = space.s.data() + i * kStride;
      if (plain_) {
        weigh_row<C>(space.rows[i].keys, factor, s, space.max[i], space.sum[i]);
        continue;
      }
      const LogitTerms terms = terms_of(call, tile, space.rows[i]);
      apply_terms<T>(terms, nullptr, 0, s, 0, C * T::kLanes);
      weigh_row<C>({0, C * T::kLanes}, 1, s, space.max[i], space.sum[i]);
    }
  }

  // Weights 2^(factor · s − max) of one row in place of s, 0 outside `keys`; their sum before
  // rounding.
  template <int C>
  static void weigh_row(const KeyRange& keys, float factor, float* s, float& max, float& sum) {
    using V = typename T::V;
    using Reg = typename T::Reg;
    const Reg none = V::set1(-std::numeric_limits<float>::infinity());
    Reg x[C];
    Reg most = none;
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      x[c] = T::select(T::lanes_between(c * T::kLanes, keys.lo, keys.hi),
                       T::load_floats(s + c * T::kLanes), none);
      most = V::max(most, x[c]);
    }
    max = factor * T::reduce_max(most);
    // Without a key, all weights shall be 2^−∞ = 0.
    const Reg minus_shift = V::set1(-std::max(max, std::numeric_limits<float>::lowest()));
    const Reg scale = V::set1(factor);
    Reg total = V::set1(0.0F);
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      x[c] = exp2_vector<T::kExpDegree, V>(V::fma(x[c], scale, minus_shift));
      total = V::add(total, x[c]);
    }
    T::store_weights(reinterpret_cast<std::uint32_t*>(s), x);
    sum = T::reduce_add(total);
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
      for (std::int64_t r = 0; r < tile.rows; ++r) {
        space.factor[tile.first + r] *= tile.kv->scales.v;
      }
    }
  }

  void sum_values(const Tile& tile, std::int64_t panel, Space& space) const {
    const std::int64_t columns =
        std::min<std::int64_t>(T::kColumns, registers(p_.head_dim_v - panel * T::kPanel));
    RegisterTiles<T>::products(tile.rows, columns, words(tile.first, space), kStride,
                               tile.kv->v + panel * tile.kv->v_panel, tile.kv->v_stride,
                               (tile.keys + T::kPair - 1) / T::kPair, tile.o + panel * T::kPanel,
                               o_stride_, space.factor.data() + tile.first);
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
        } else if (!o_in_place_) {
          T::store_row(call.o, row * p_.head_dim_v, p_.head_dim_v, tile.o + r * o_stride_, 1);
        }
        lse[row] = space.lse[i];
      }
    }
  }

  AttentionProblem p_;
  RowBlocks blocks_;
  ShortKvSpace<T> kv_;
  std::int64_t steps_;
  std::int64_t v_panels_;
  bool plain_;   ///< logits are one factor times q·k, and it is positive
  bool narrow_;  ///< K is
  bool q_in_place_;
  bool o_in_place_;
  std::int64_t q_stride_;  ///< dwords from one row to the next
  std::int64_t o_stride_;
  std::vector<ShortKv<T>> kept_;       ///< decode: [batch][heads_kv]
  std::vector<std::int32_t> lengths_;  ///< decode: cu_seqlens_kv or seqlens_kv
  std::vector<Space> spaces_;
  std::atomic<std::int64_t> next_task_{0};
};

}  // namespace pareto
