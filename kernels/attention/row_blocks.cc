#include "kernels/attention/row_blocks.h"

#include <algorithm>

namespace pareto {
namespace {

// 192 rows × 512 keys of scores and the panels of one block fit L2 (1 MiB); short sequences lose
// less to the diagonal and to idle threads with smaller blocks.
constexpr std::int64_t kMaxRows = 192;
constexpr std::int64_t kMinRows = 24;
constexpr std::int64_t kLongKeys = 2048;
constexpr std::int64_t kLongBlock = 512;
constexpr std::int64_t kShortBlock = 256;
constexpr std::int64_t kTasksPerThread = 4;
// A part of the keys must be worth its combination.
constexpr std::int64_t kMinPartKeys = 256;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

std::int64_t keys_per_block(const AttentionProblem& problem) {
  return !problem.decode() && problem.seq_kv >= kLongKeys ? kLongBlock : kShortBlock;
}

KeyRange keys_of_sequence(const AttentionProblem& problem, const AttentionSequence& sequence) {
  if (sequence.seq_q == 0) return {};
  // Both ends of what a query sees ascend with the query.
  const KeyRange first = problem.visible(0, sequence.seq_q, sequence.seq_kv);
  const KeyRange last = problem.visible(sequence.seq_q - 1, sequence.seq_q, sequence.seq_kv);
  return {std::min(first.lo, last.hi), last.hi};
}

RowBlocks::RowBlocks(const AttentionProblem& problem, int threads, std::int64_t panel, int row_tile)
    : p_(problem), panel_(panel) {
  choose_rows(threads, row_tile);
  tasks_per_head_ = blocks_of_head(p_.seq_q);
  rows_tasks_ = p_.batch * p_.heads_kv * tasks_per_head_;
  choose_parts(threads);
}

void RowBlocks::choose_rows(int threads, int row_tile) {
  const std::int64_t all = p_.batch * p_.heads_q * p_.seq_q;
  rows_ = kMaxRows;
  while (rows_ > kMinRows && divide_up(all, rows_) < kTasksPerThread * threads) rows_ /= 2;
  if (p_.decode()) rows_ = kMaxRows;  // every further task reads the KV head again
  rows_ = divide_up(rows_, row_tile) * row_tile;
  // Ragged sequences below the longest may put several heads into one task.
  max_rows_ = rows_;
}

void RowBlocks::choose_parts(int threads) {
  parts_ = 1;
  if (!p_.decode() || rows_tasks_ == 0) return;
  const std::int64_t most = std::max<std::int64_t>(1, p_.seq_kv / kMinPartKeys);
  const auto even = [&] {
    const std::int64_t tasks = rows_tasks_ * parts_;
    return tasks % threads == 0 || tasks >= kTasksPerThread * threads;
  };
  while (parts_ < most && !even()) ++parts_;
}

std::int64_t RowBlocks::blocks_of_head(std::int64_t seq_q) const {
  if (seq_q == 0) return 0;
  if (seq_q >= rows_) return p_.group() * divide_up(seq_q, rows_);
  return divide_up(p_.group(), rows_ / seq_q);
}

KeyRange RowBlocks::keys_of(const RowBlock& block) const {
  const AttentionSequence& s = block.sequence;
  const KeyRange first = p_.visible(block.first_query, s.seq_q, s.seq_kv);
  const KeyRange last = p_.visible(block.first_query + block.queries - 1, s.seq_q, s.seq_kv);
  const std::int64_t lo = std::min(first.lo, last.hi) / panel_;
  const std::int64_t hi = divide_up(last.hi, panel_);
  const std::int64_t count = hi - lo;
  return {(lo + count * block.part / parts_) * panel_,
          std::min((lo + count * (block.part + 1) / parts_) * panel_, last.hi)};
}

bool RowBlocks::block(std::int64_t row_task, std::int64_t part, const AttentionTables& tables,
                      RowBlock& block) const {
  const std::int64_t head = row_task / tasks_per_head_;
  block.sequence = AttentionSequence::of(p_, tables, head / p_.heads_kv);
  block.head_kv = head % p_.heads_kv;
  block.part = part;
  const std::int64_t seq_q = block.sequence.seq_q;
  const std::int64_t blocks = blocks_of_head(seq_q);
  // The last queries see the most keys under a causal mask.
  const std::int64_t index = blocks - 1 - row_task % tasks_per_head_;
  if (index < 0) return false;
  if (seq_q >= rows_) {
    const std::int64_t group = p_.group();
    block.first_head = block.head_kv * group + index % group;
    block.heads = 1;
    block.first_query = index / group * rows_;
    block.queries = std::min(rows_, seq_q - block.first_query);
  } else {
    const std::int64_t heads = rows_ / seq_q;
    block.first_head = block.head_kv * p_.group() + index * heads;
    block.heads = std::min(heads, (block.head_kv + 1) * p_.group() - block.first_head);
    block.first_query = 0;
    block.queries = seq_q;
  }
  block.keys = keys_of(block);
  return true;
}

}  // namespace pareto
