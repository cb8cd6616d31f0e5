// Blocked attention with online softmax for decode, for any instruction set: the walk over tasks,
// parts of the keys and blocks.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy (lanes_avx512.h,
// lanes_avx2.h).
//
// `prepare` packs the cache in its own type. A task is up to 192 rows of one KV head, so that all
// query heads read a key once, and a part of the keys; blocks of 256 keys are widened as they are
// visited, and the parts are combined by their LSE.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/key_blocks.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/packed_kv.h"
#include "kernels/attention/part_sums.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/row_ends.h"
#include "kernels/attention/stored_block.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

template <typename T>
class DecodeAttention : public Prepared {
 public:
  DecodeAttention(const AttentionProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        blocks_(p, pool.size(), T::kPanel, T::kRows),
        key_blocks_(p_),
        // What is widened is widened in whole panels.
        kv_(p_,
            KvLayout::of(p, T::kPanel, T::kPair,
                         p.kv_dtype == T::kWord ? key_blocks_.k_stride() : T::kPanel),
            static_cast<std::int64_t>(size_of(p.kv_dtype))),
        ends_(p_, key_blocks_),
        lengths_(kv_lengths(in)) {
    kv_.pack_as_stored(p, in, pool);
    for (int thread = 0; thread < pool.size(); ++thread) {
      spaces_.push_back(key_blocks_.make_space(blocks_.max_rows(), blocks_.max_rows()));
      stored_.emplace_back(p_, kv_, key_blocks_.block_keys());
    }
    if (blocks_.parts() > 1) parts_ = PartSums(blocks_, key_blocks_.o_stride());
  }

  void run(const Call& call) override {
    AttentionCall now(call);
    now.tables.cu_seqlens_kv = now.tables.seqlens_kv = lengths_.data();
    next_task_.store(0, std::memory_order_relaxed);
    call.pool.run([&](int thread, int) { walk(now, spaces_[thread], stored_[thread]); });
    if (blocks_.parts() > 1) {
      call.pool.run([&](int thread, int threads) { combine(now, thread, threads); });
    }
    ends_.store_uncovered(now);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return kv_.bytes(); }

 private:
  using Space = AttentionWorkspace<T>;

  void walk(const AttentionCall& call, Space& space, StoredBlock<T>& stored) {
    const std::int64_t parts = blocks_.parts();
    const std::int64_t step = key_blocks_.block_keys();
    typename T::Tiles tiles;
    for (;;) {
      const std::int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
      if (task >= blocks_.tasks()) return;
      RowBlock block;
      if (!blocks_.block(task, call.tables, block)) continue;
      const std::int64_t head = kv_.head(block.sequence.b, block.head_kv);
      ends_.begin(call, block, kv_.head_scales(head).k, space);
      for (std::int64_t key = block.keys.lo; key < block.keys.hi; key += step) {
        stored.take(head, {key, std::min(key + step, block.keys.hi)});
        key_blocks_.visit({0, block.rows()}, stored, tiles, space);
      }
      if (parts == 1) {
        ends_.finish(call, block, kv_.head_scales(head).v, space);
        continue;
      }
      key_blocks_.end(block.rows(), space);
      for (std::int64_t r = 0; r < block.rows(); ++r) {
        parts_.keep(task, r, space.rows[r].state, space.o.data() + r * key_blocks_.o_stride());
      }
    }
  }

  // Parts of the keys, brought to their common maximum.
  void combine(const AttentionCall& call, int thread, int threads) {
    Space& space = spaces_[thread];
    const auto [begin, end] = share_of(blocks_.row_tasks(), thread, threads);
    for (std::int64_t task = begin; task < end; ++task) {
      RowBlock block;
      if (!blocks_.block(task * blocks_.parts(), call.tables, block)) continue;
      for (std::int64_t r = 0; r < block.rows(); ++r) {
        space.rows[r].state = parts_.combine(task, r, space.o.data() + r * key_blocks_.o_stride());
      }
      ends_.finish(call, block, kv_.head_scales(kv_.head(block.sequence.b, block.head_kv)).v,
                   space);
    }
  }

  AttentionProblem p_;
  RowBlocks blocks_;
  KeyBlocks<T> key_blocks_;
  PackedKv kv_;
  RowEnds<T> ends_;
  std::vector<std::int32_t> lengths_;  ///< cu_seqlens_kv or seqlens_kv
  std::vector<Space> spaces_;
  std::vector<StoredBlock<T>> stored_;
  PartSums parts_;
  std::atomic<std::int64_t> next_task_{0};
};

}  // namespace pareto
