// Blocked attention with online softmax for prefill, for any instruction set: the walk over tasks
// and blocks.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy (lanes_avx512.h,
// lanes_avx2.h), which names the registers, the words of the products and how operands are packed.
//
// A task is up to 2048 rows of one KV head (at head_dim 128; 1024 on AMX). Its thread packs K and V
// a block of 256 or 512 keys at a time, so that what is packed is still in L2 when it is used and
// memory does not grow with the problem, and takes the rows through the block as Blocks orders it:
// key_blocks.h 192 rows at a time, scores for the whole block (K's panel stays in L1 while the rows
// pass), weights in place, then P·V, which rescales o as it loads it; tile_pipeline.h those three
// at once for different rows. Every tile of rows visits only the panels that one of its rows sees.
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
#include "kernels/attention/packed_block.h"
#include "kernels/attention/row_blocks.h"
#include "kernels/attention/row_ends.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

template <typename T, typename Blocks = KeyBlocks<T>>
class PrefillAttention : public Prepared {
 public:
  PrefillAttention(const AttentionProblem& p, const ThreadPool& pool)
      : p_(p),
        blocks_(p, pool.size(), T::kPanel, T::kRows, Blocks::kTaskBytes),
        key_blocks_(p_),
        ends_(p_, key_blocks_) {
    for (int thread = 0; thread < blocks_.threads(); ++thread) {
      spaces_.push_back(key_blocks_.make_space(blocks_.max_rows()));
      packed_.emplace_back(p_, key_blocks_.block_keys(), key_blocks_.k_stride());
    }
  }

  void run(const Call& call) override {
    const AttentionCall now(call);
    next_task_.store(0, std::memory_order_relaxed);
    if (blocks_.threads() == 1) {
      walk(now, spaces_[0], packed_[0]);
    } else {
      call.pool.run([&](int thread, int) { walk(now, spaces_[thread], packed_[thread]); });
    }
    ends_.store_uncovered(now);
  }

 private:
  using Space = typename Blocks::Space;

  void walk(const AttentionCall& call, Space& space, PackedBlock<T>& packed) {
    const std::int64_t step = key_blocks_.block_keys();
    typename T::Tiles tiles;
    for (;;) {
      const std::int64_t task = next_task_.fetch_add(1, std::memory_order_relaxed);
      if (task >= blocks_.tasks()) return;
      RowBlock block;
      if (!blocks_.block(task, call.tables, block)) continue;
      const KvHeadScales scales = KvHeadScales::of(p_, call.in, block.sequence.b, block.head_kv);
      ends_.begin(call, block, scales.k, space);
      key_blocks_.begin(block.rows(), space);
      for (std::int64_t key = block.keys.lo; key < block.keys.hi; key += step) {
        packed.pack(p_, call.in, block.sequence, block.head_kv,
                    {key, std::min(key + step, block.keys.hi)});
        key_blocks_.visit_all(block.rows(), packed, tiles, space);
      }
      key_blocks_.end(block.rows(), space);
      ends_.finish(call, block, scales.v, space);
    }
  }

  AttentionProblem p_;
  RowBlocks blocks_;
  Blocks key_blocks_;
  RowEnds<T> ends_;
  std::vector<Space> spaces_;
  std::vector<PackedBlock<T>> packed_;
  std::atomic<std::int64_t> next_task_{0};
};

}  // namespace pareto
