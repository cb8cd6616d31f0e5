// Blocked attention with online softmax, for any instruction set: the walk over tasks and blocks.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy (lanes_avx512.h,
// lanes_avx2.h), which names the registers, the words of the products and how operands are packed.
//
// A task is up to 192 rows of one KV head. Its keys come in blocks of 256 or 512: scores for the
// whole block (K's panel stays in L1 while the rows pass), weights in place, then P·V, which
// rescales o as it loads it. Every tile of rows visits only the panels that one of its rows sees.
// Prefill packs K and V in `run`, once per KV head. Decode packs in `prepare`, in the operands' own
// type, widens a block at a time, and splits the keys over threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "harness/aligned_buffer.h"
#include "harness/variant.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/attention/part_sums.h"
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

template <typename T>
class BlockedAttention : public Prepared {
 public:
  BlockedAttention(const AttentionProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        layout_(KvLayout::of(p, T::kPanel, T::kPair)),
        blocks_(p, pool.size(), T::kPanel, T::kRows),
        block_keys_(keys_per_block(p)),
        // An odd number of lines, lest rows fall into the same sets of L1.
        q_stride_((layout_.steps + 15) / 16 * 16 + 16),
        s_stride_(block_keys_ + 16),
        o_stride_(layout_.v_panels * T::kPanel + 16) {
    constexpr std::int64_t kWordBytes = 4 / T::kPair;
    const auto stored_bytes = static_cast<std::int64_t>(size_of(p.kv_dtype));
    widen_ = p.decode() && p.kv_dtype != T::kWord;
    kv_ = PackedKv(p, layout_, p.decode() ? stored_bytes : kWordBytes);
    if (p.decode()) {
      kv_.pack_as_stored(p, in, pool);
      for (const AttentionSlot slot : {kAttentionCuSeqlensKv, kAttentionSeqlensKv}) {
        const std::span<const std::int32_t> table = in[slot].span<const std::int32_t>();
        lengths_.insert(lengths_.end(), table.begin(), table.end());
      }
    }
    for (int thread = 0; thread < pool.size(); ++thread) spaces_.push_back(make_space());
    if (blocks_.parts() > 1) parts_ = PartSums(blocks_, o_stride_);
  }

  void run(const Call& call) override {
    AttentionCall now(call);
    if (p_.decode()) {
      now.tables.cu_seqlens_kv = now.tables.seqlens_kv = lengths_.data();
    } else {
      kv_.take_head_scales(p_, call.in);
      call.pool.run([&](int thread, int threads) { pack(now, thread, threads); });
    }
    next_task_.store(0, std::memory_order_relaxed);
    call.pool.run([&](int thread, int) { walk(now, spaces_[thread]); });
    if (blocks_.parts() > 1) {
      call.pool.run([&](int thread, int threads) { combine(now, thread, threads); });
    }
    const KeyRange uncovered = uncovered_q_rows(p_, now.tables, now.lse);
    for (std::int64_t row = uncovered.lo; row < uncovered.hi; ++row) {
      store(now, row, nullptr, {.empty = true});
    }
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return p_.decode() ? kv_.bytes() : 0; }

 private:
  using Space = AttentionWorkspace<T>;

  Space make_space() const {
    const std::int64_t rows = blocks_.max_rows();
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

  // Prefill: every panel of keys that some query sees, of all heads.
  void pack(const AttentionCall& call, int thread, int threads) {
    if (layout_.k_panels == 0) return;
    const auto [begin, end] = share_of(p_.batch * p_.heads_kv * layout_.k_panels, thread, threads);
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t head = at / layout_.k_panels;
      const std::int64_t first = at % layout_.k_panels * T::kPanel;
      const AttentionSequence s = AttentionSequence::of(p_, call.tables, head / p_.heads_kv);
      const KeyRange seen = keys_of_sequence(p_, s);
      const std::int64_t last = std::min(first + T::kPanel, s.seq_kv);
      if (first >= seen.hi || last <= seen.lo) continue;
      const std::int64_t head_kv = head % p_.heads_kv;
      T::pack_k(KvRows::of_k(p_, call.in, s, head_kv), layout_, first, last,
                reinterpret_cast<std::uint32_t*>(kv_.k(head)));
      kv_.non_finite(head)[first / T::kPanel] =
          T::pack_v(KvRows::of_v(p_, call.in, s, head_kv), layout_, first, last,
                    reinterpret_cast<std::uint32_t*>(kv_.v(head)))
              ? 1
              : 0;
      kv_.take_scales(p_, call.in, s, head_kv, first, last);
    }
  }

  void walk(const AttentionCall& call, Space& space) {
    const std::int64_t parts = blocks_.parts();
    for (;;) {
      const std::int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
      if (task >= blocks_.tasks()) return;
      RowBlock block;
      if (!blocks_.block(task / parts, task % parts, call.tables, block)) continue;
      begin_rows(call, block, space);
      for (std::int64_t key = block.keys.lo; key < block.keys.hi; key += block_keys_) {
        visit(block, {key, std::min(key + block_keys_, block.keys.hi)}, space);
      }
      if (parts == 1) {
        finish_rows(call, block, space);
        continue;
      }
      for (std::int64_t r = 0; r < block.rows(); ++r) {
        parts_.keep(task, r, space.rows[r].state, space.o.data() + r * o_stride_);
      }
    }
  }

  void begin_rows(const AttentionCall& call, const RowBlock& block, Space& space) {
    std::fill_n(space.o.data(), block.rows() * o_stride_, 0.0F);
    for (std::int64_t r = 0; r < block.rows(); ++r) {
      space.rows[r].terms = terms_of_row(p_, call, block, r, kv_);
      space.rows[r].state = {};
      const std::int64_t row = block.sequence.q_row(block.head(r), block.query(r));
      T::pack_q(call.in[kAttentionQ], row * p_.head_dim, p_.head_dim,
                space.q.data() + r * q_stride_);
    }
    for (std::int64_t first = 0; first < block.rows(); first += T::kRows) {
      KeyRange& keys = space.tile_keys[first / T::kRows];
      keys = {std::numeric_limits<std::int64_t>::max(), 0};
      for (std::int64_t r = first; r < std::min(first + T::kRows, block.rows()); ++r) {
        const KeyRange& range = space.rows[r].terms.range;
        if (range.size() == 0) continue;
        keys = {std::min(keys.lo, range.lo), std::max(keys.hi, range.hi)};
      }
    }
  }

  // The panels of `keys` that a tile of rows visits, relative to keys.lo.
  static KeyRange panels_of(const KeyRange& tile, const KeyRange& keys) {
    const std::int64_t lo = std::max(tile.lo, keys.lo) - keys.lo;
    const std::int64_t hi = std::min(tile.hi, keys.hi) - keys.lo;
    if (lo >= hi) return {};
    return {lo / T::kPanel * T::kPanel, (hi + T::kPanel - 1) / T::kPanel * T::kPanel};
  }

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

  void finish_rows(const AttentionCall& call, const RowBlock& block, Space& space) {
    const float v_scale = kv_.v_head_scale(kv_.head(block.sequence.b, block.head_kv));
    for (std::int64_t r = 0; r < block.rows(); ++r) {
      const std::int64_t head = block.head(r);
      const float sink =
          call.sinks != nullptr ? call.sinks[head] : -std::numeric_limits<float>::infinity();
      FinishedRow finished = finish_row(space.rows[r].state, sink);
      finished.factor *= v_scale;
      store(call, block.sequence.q_row(head, block.query(r)), space.o.data() + r * o_stride_,
            finished);
    }
  }

  void store(const AttentionCall& call, std::int64_t row, const float* o,
             const FinishedRow& finished) {
    call.lse.as<float>()[row] = finished.lse;
    if (finished.empty) {
      std::fill_n(call.o.data + row * p_.head_dim_v * size_of(call.o.dtype),
                  p_.head_dim_v * size_of(call.o.dtype), std::byte{0});
      return;
    }
    T::store_row(call.o, row * p_.head_dim_v, p_.head_dim_v, o, finished.factor);
  }

  // Parts of the keys, brought to their common maximum.
  void combine(const AttentionCall& call, int thread, int threads) {
    Space& space = spaces_[thread];
    const auto [begin, end] = share_of(blocks_.row_tasks(), thread, threads);
    for (std::int64_t task = begin; task < end; ++task) {
      RowBlock block;
      if (!blocks_.block(task, 0, call.tables, block)) continue;
      for (std::int64_t r = 0; r < block.rows(); ++r) {
        space.rows[r].state = parts_.combine(task, r, space.o.data() + r * o_stride_);
      }
      finish_rows(call, block, space);
    }
  }

  AttentionProblem p_;
  KvLayout layout_;
  RowBlocks blocks_;
  std::int64_t block_keys_;
  std::int64_t q_stride_;
  std::int64_t s_stride_;
  std::int64_t o_stride_;
  bool widen_ = false;
  PackedKv kv_;
  std::vector<std::int32_t> lengths_;  ///< decode: cu_seqlens_kv or seqlens_kv
  std::vector<Space> spaces_;
  PartSums parts_;
  std::atomic<std::int64_t> next_task_{0};
};

}  // namespace pareto
