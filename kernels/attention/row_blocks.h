// How the blocked attention kernels cut a problem: tasks of rows that share a KV head, parts of the
// keys, and the workspace that both need.
#pragma once

#include <cstdint>

#include "reference/attention.h"

namespace pareto {

/// A rectangle of (query head, query) pairs of one sequence and KV head, and the keys that one task
/// visits for it. Row r is head first_head + r / queries, query first_query + r % queries.
struct RowBlock {
  AttentionSequence sequence;
  std::int64_t head_kv = 0;
  std::int64_t first_head = 0;
  std::int64_t heads = 0;
  std::int64_t first_query = 0;
  std::int64_t queries = 0;
  std::int64_t part = 0;  ///< of `RowBlocks::parts` parts of the keys
  KeyRange keys;          ///< begins at a panel

  [[nodiscard]] std::int64_t rows() const { return heads * queries; }
};

/// Prefill: packing a block of keys costs as much as the products of some 20 rows, so a task has as
/// many rows as this much of q and o, in fp32.
inline constexpr std::int64_t kPrefillTaskBytes = 2 << 20;

/// Keys per block of the online softmax: a function of the problem alone, since the variant's
/// declared arithmetic names it.
std::int64_t keys_per_block(const AttentionProblem& problem);

/// All tasks of a problem, numbered so that the longest of a head come first. Sequences shorter
/// than the longest leave some numbers empty.
class RowBlocks {
 public:
  /// `panel`: keys per packed panel; `row_tile`: rows per register tile; `task_bytes`: of q and o
  /// of a task in prefill.
  RowBlocks(const AttentionProblem& problem, int threads, std::int64_t panel, int row_tile,
            std::int64_t task_bytes = kPrefillTaskBytes);

  /// How many of the pool's threads are worth waking.
  [[nodiscard]] int threads() const { return threads_; }
  [[nodiscard]] std::int64_t tasks() const { return rows_tasks_ * parts_; }
  [[nodiscard]] std::int64_t parts() const { return parts_; }
  /// Tasks that differ in more than their part.
  [[nodiscard]] std::int64_t row_tasks() const { return rows_tasks_; }
  /// Most rows that a task can have.
  [[nodiscard]] std::int64_t max_rows() const { return max_rows_; }
  /// Task number = row task · parts + part. False if it has no rows.
  bool block(std::int64_t task, const AttentionTables& tables, RowBlock& block) const;

 private:
  void choose_rows(int row_tile, std::int64_t task_bytes);
  void even_out_rows(int row_tile);
  void choose_parts();
  [[nodiscard]] std::int64_t blocks_of_head(std::int64_t seq_q) const;
  [[nodiscard]] KeyRange keys_of(const RowBlock& block) const;

  AttentionProblem p_;
  std::int64_t panel_;
  std::int64_t group_;
  int threads_;
  std::int64_t rows_ = 0;  ///< wanted per task
  std::int64_t max_rows_ = 0;
  std::int64_t tasks_per_head_ = 0;
  std::int64_t rows_tasks_ = 0;
  std::int64_t parts_ = 1;
};

}  // namespace pareto
