// Beginning and end of a task's rows in blocked attention: q packed and what each row sees; o and
// LSE written.
//
// Included inside a `#pragma GCC target` region; T is the instruction set's policy.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "kernels/attention/block_softmax.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/task_rows.h"
#include "reference/attention.h"

namespace pareto {

template <typename T>
class RowEnds {
 public:
  using Space = AttentionWorkspace<T>;

  /// Both outlive it.
  RowEnds(const AttentionProblem& p, const BlockSoftmax<T>& blocks) : p_(p), blocks_(blocks) {}

  void begin(const AttentionCall& call, const RowBlock& block, float k_head_scale,
             Space& space) const {
    std::int64_t r = 0;
    for (std::int64_t head = block.first_head; head < block.first_head + block.heads; ++head) {
      for (std::int64_t i = 0; i < block.queries; ++i, ++r) {
        const std::int64_t query = block.first_query + i;
        space.rows[r].terms = terms_of_query(p_, call, block.sequence, head, query, k_head_scale);
        space.rows[r].state = {};
        const std::int64_t row = block.sequence.q_row(head, query);
        T::pack_q(call.in[kAttentionQ], row * p_.head_dim, p_.head_dim,
                  space.q.data() + r * blocks_.q_stride());
      }
    }
    span_tiles(block.rows(), space);
  }

  void finish(const AttentionCall& call, const RowBlock& block, float v_head_scale,
              Space& space) const {
    std::int64_t r = 0;
    for (std::int64_t head = block.first_head; head < block.first_head + block.heads; ++head) {
      const float sink =
          call.sinks != nullptr ? call.sinks[head] : -std::numeric_limits<float>::infinity();
      for (std::int64_t i = 0; i < block.queries; ++i, ++r) {
        FinishedRow finished = finish_row(space.rows[r].state, sink);
        float* o = space.o.data() + r * blocks_.o_stride();
        scale_values(v_head_scale, {o, static_cast<std::size_t>(p_.head_dim_v)}, finished);
        store(call, block.sequence.q_row(head, block.first_query + i), o, finished);
      }
    }
  }

  /// Rows that belong to no sequence.
  void store_uncovered(const AttentionCall& call) const {
    const KeyRange uncovered = uncovered_q_rows(p_, call.tables, call.lse);
    for (std::int64_t row = uncovered.lo; row < uncovered.hi; ++row) {
      call.store_empty(row, p_.head_dim_v);
    }
  }

 private:
  // Which keys the rows of each tile see.
  static void span_tiles(std::int64_t rows, Space& space) {
    for (std::int64_t first = 0; first < rows; first += T::kRows) {
      constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();
      TileKeys& tile = space.tiles[first / T::kRows];
      tile = {.any = {kFar, 0}, .all = {0, kFar}};
      for (std::int64_t r = first; r < std::min(first + T::kRows, rows); ++r) {
        const KeyRange& range = space.rows[r].terms.range;
        tile.all = {std::max(tile.all.lo, range.lo), std::min(tile.all.hi, range.hi)};
        if (range.size() == 0) continue;
        tile.any = {std::min(tile.any.lo, range.lo), std::max(tile.any.hi, range.hi)};
      }
    }
  }

  void store(const AttentionCall& call, std::int64_t row, const float* o,
             const FinishedRow& finished) const {
    if (finished.empty) {
      call.store_empty(row, p_.head_dim_v);
    } else {
      T::store_row(call.o, row * p_.head_dim_v, p_.head_dim_v, o, finished.factor);
    }
    call.lse.as<float>()[row] = finished.lse;
  }

  const AttentionProblem& p_;
  const BlockSoftmax<T>& blocks_;
};

}  // namespace pareto
