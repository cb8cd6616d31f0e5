// Attention on so few keys that a row's scores are all made before its softmax: no online softmax,
// and no step that only long sequences pay back. T::kShortPanels panels of keys.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
//
// Such a call takes microseconds, so what every row costs beside its products counts: see
// short_rows.h. Here: tasks, and the K and V of a decode, which are packed once.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/short_kv.h"
#include "kernels/attention/short_rows.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

template <typename T>
class ShortAttention : public Prepared {
 public:
  /// int8 has scales per key, which would cost the others a branch per row.
  static bool takes(const AttentionProblem& p) {
    return p.seq_kv <= T::kShortPanels * T::kPanel && p.kv_dtype != DType::kS8;
  }

  ShortAttention(const AttentionProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        blocks_(p, pool.size(), T::kPanel, T::kRows),
        kv_(p, p.decode() ? p.batch * p.heads_kv : blocks_.threads()),
        rows_(p) {
    if (p.decode()) keep(in, pool);
    for (int thread = 0; thread < blocks_.threads(); ++thread)
      spaces_.push_back(rows_.make_space());
  }

  void run(const Call& call) override {
    AttentionCall now(call);
    if (p_.decode()) now.tables.cu_seqlens_kv = now.tables.seqlens_kv = lengths_.data();
    if (blocks_.threads() == 1) {
      for (std::int64_t task = 0; task < blocks_.tasks(); ++task) visit(now, task, 0);
      rows_.finish(now, spaces_[0]);
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
  using Rows = ShortRows<T>;
  using Space = typename Rows::Space;

  // Decode: K and V are given to `prepare` alone.
  void keep(std::span<const Tensor> in, ThreadPool& pool) {
    const CacheOperands cache(p_, in);
    lengths_ = kv_lengths(in);
    kept_.resize(static_cast<std::size_t>(p_.batch * p_.heads_kv));
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.batch * p_.heads_kv, thread, threads);
      for (std::int64_t head = begin; head < end; ++head) {
        kept_[head] =
            kv_.pack(p_, in, cache.sequence(head / p_.heads_kv), head % p_.heads_kv, head);
      }
    });
  }

  void walk(const AttentionCall& call, int thread) {
    for (;;) {
      const std::int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
      if (task >= blocks_.tasks()) break;
      visit(call, task, thread);
    }
    rows_.finish(call, spaces_[thread]);
  }

  // A prefill is done with the task when it returns, since the next one's K and V take the place of
  // this one's; rows of a decode may be left at hand.
  void visit(const AttentionCall& call, std::int64_t task, int thread) {
    Space& space = spaces_[thread];
    RowBlock* block = &space.blocks[space.block_count];
    if (!blocks_.block(task, call.tables, *block)) return;
    // Which tasks a thread gets is chance, and low tiles add in another order than high ones: the
    // rows of a task are cut the same way whatever is at hand.
    if (space.count > 0 && space.count + block->rows() > Rows::kRowsAtATime) {
      block = finish_before(call, *block, space);
    }
    ++space.block_count;
    ShortKv<T> packed;
    if (!p_.decode()) packed = kv_.pack(p_, call.in, block->sequence, block->head_kv, thread);
    const ShortKv<T>& kv =
        p_.decode() ? kept_[block->sequence.b * p_.heads_kv + block->head_kv] : packed;
    typename Rows::Row next{.head = block->first_head, .query = block->first_query};
    for (std::int64_t left = block->rows(); left > 0;) {
      const std::int64_t count = std::min(left, Rows::kRowsAtATime - space.count);
      rows_.add(call, *block, kv, count, next, space);
      left -= count;
      if (space.count < Rows::kRowsAtATime) break;
      if (left == 0) {
        rows_.finish(call, space);
        break;
      }
      block = finish_before(call, *block, space);
      ++space.block_count;
    }
    if (!p_.decode()) rows_.finish(call, space);
  }

  // Finishes all rows at hand; `block`, which is not done yet, moves to the first place.
  RowBlock* finish_before(const AttentionCall& call, RowBlock block, Space& space) const {
    rows_.finish(call, space);
    space.blocks[0] = block;
    return &space.blocks[0];
  }

  AttentionProblem p_;
  RowBlocks blocks_;
  ShortKvSpace<T> kv_;
  Rows rows_;
  std::vector<ShortKv<T>> kept_;       ///< decode: [batch][heads_kv]
  std::vector<std::int32_t> lengths_;  ///< decode: cu_seqlens_kv or seqlens_kv
  std::vector<Space> spaces_;
  std::atomic<std::int64_t> next_task_{0};
};

}  // namespace pareto
