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
#include "kernels/attention/key_blocks.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

template <typename T>
class BlockedAttention : public Prepared {
 public:
  BlockedAttention(const AttentionProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        layout_(KvLayout::of(p, T::kPanel, T::kPair)),
        blocks_(p, pool.size(), T::kPanel, T::kRows),
        kv_(p_, layout_,
            p.decode() ? static_cast<std::int64_t>(size_of(p.kv_dtype)) : 4 / T::kPair),
        key_blocks_(p_, kv_) {
    if (p.decode()) {
      kv_.pack_as_stored(p, in, pool);
      for (const AttentionSlot slot : {kAttentionCuSeqlensKv, kAttentionSeqlensKv}) {
        const std::span<const std::int32_t> table = in[slot].span<const std::int32_t>();
        lengths_.insert(lengths_.end(), table.begin(), table.end());
      }
    }
    for (int thread = 0; thread < pool.size(); ++thread) {
      spaces_.push_back(key_blocks_.make_space(blocks_.max_rows()));
    }
    if (blocks_.parts() > 1) parts_ = PartSums(blocks_, key_blocks_.o_stride());
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
    const std::int64_t step = key_blocks_.block_keys();
    for (;;) {
      const std::int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
      if (task >= blocks_.tasks()) return;
      RowBlock block;
      if (!blocks_.block(task / parts, task % parts, call.tables, block)) continue;
      begin_rows(call, block, space);
      for (std::int64_t key = block.keys.lo; key < block.keys.hi; key += step) {
        key_blocks_.visit(block, {key, std::min(key + step, block.keys.hi)}, space);
      }
      if (parts == 1) {
        finish_rows(call, block, space);
        continue;
      }
      for (std::int64_t r = 0; r < block.rows(); ++r) {
        parts_.keep(task, r, space.rows[r].state, space.o.data() + r * key_blocks_.o_stride());
      }
    }
  }

  void begin_rows(const AttentionCall& call, const RowBlock& block, Space& space) {
    std::fill_n(space.o.data(), block.rows() * key_blocks_.o_stride(), 0.0F);
    for (std::int64_t r = 0; r < block.rows(); ++r) {
      space.rows[r].terms = terms_of_row(p_, call, block, r, kv_);
      space.rows[r].state = {};
      const std::int64_t row = block.sequence.q_row(block.head(r), block.query(r));
      T::pack_q(call.in[kAttentionQ], row * p_.head_dim, p_.head_dim,
                space.q.data() + r * key_blocks_.q_stride());
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

  void finish_rows(const AttentionCall& call, const RowBlock& block, Space& space) {
    const float v_scale = kv_.v_head_scale(kv_.head(block.sequence.b, block.head_kv));
    for (std::int64_t r = 0; r < block.rows(); ++r) {
      const std::int64_t head = block.head(r);
      const float sink =
          call.sinks != nullptr ? call.sinks[head] : -std::numeric_limits<float>::infinity();
      FinishedRow finished = finish_row(space.rows[r].state, sink);
      finished.factor *= v_scale;
      store(call, block.sequence.q_row(head, block.query(r)),
            space.o.data() + r * key_blocks_.o_stride(), finished);
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
        space.rows[r].state = parts_.combine(task, r, space.o.data() + r * key_blocks_.o_stride());
      }
      finish_rows(call, block, space);
    }
  }

  AttentionProblem p_;
  KvLayout layout_;
  RowBlocks blocks_;
  PackedKv kv_;
  KeyBlocks<T> key_blocks_;
  std::vector<std::int32_t> lengths_;  ///< decode: cu_seqlens_kv or seqlens_kv
  std::vector<Space> spaces_;
  PartSums parts_;
  std::atomic<std::int64_t> next_task_{0};
};

}  // namespace pareto
