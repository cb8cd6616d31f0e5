#include "kernels/attention/row_blocks.h"

#include <algorithm>

namespace pareto {
namespace {

// Decode: one pass over a KV head serves all rows of a task.
constexpr std::int64_t kDecodeRows = 192;
constexpr std::int64_t kMaxRows = 4096;
constexpr std::int64_t kMinRows = 24;
// Below so many multiply-adds a second thread does not pay: 14 µs alone, 20 µs shared at 2^18.
constexpr std::int64_t kWorthSharing = 1 << 19;
// So many tasks per thread even out by themselves.
constexpr std::int64_t kManyTasks = 16;
// The work per row and block outweighs what the last block leaves unused, but for short sequences.
constexpr std::int64_t kLongKeys = 512;
constexpr std::int64_t kLongBlock = 512;
constexpr std::int64_t kShortBlock = 256;
// Decode: so many tasks per thread are enough, and a part of the keys must be worth its
// combination.
constexpr std::int64_t kFewTasks = 4;
constexpr std::int64_t kMinPartKeys = 256;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct Division {
  std::int64_t quotient = 0;
  std::int64_t remainder = 0;
};
// a ≥ 0, b > 0. A task of one row and one key is short enough for its divisions to count.
Division divide(std::int64_t a, std::int64_t b) {
  if (a < b) return {0, a};
  if (b == 1) return {a, 0};
  return {a / b, a % b};
}

std::int64_t multiply_adds(const AttentionProblem& p) {
  return p.batch * p.heads_q * p.seq_q * p.seq_kv * (p.head_dim + p.head_dim_v);
}

}  // namespace

std::int64_t keys_per_block(const AttentionProblem& problem) {
  return !problem.decode() && problem.seq_kv >= kLongKeys ? kLongBlock : kShortBlock;
}

RowBlocks::RowBlocks(const AttentionProblem& problem, int threads, std::int64_t panel, int row_tile,
                     std::int64_t task_bytes)
    : p_(problem), panel_(panel), group_(p_.group()), threads_(threads) {
  const bool one_part = !p_.decode() || p_.seq_kv < 2 * kMinPartKeys;
  if (one_part && multiply_adds(p_) < kWorthSharing) threads_ = 1;
  choose_rows(row_tile, task_bytes);
  tasks_per_head_ = blocks_of_head(p_.seq_q);
  rows_tasks_ = p_.batch * p_.heads_kv * tasks_per_head_;
  choose_parts();
}

void RowBlocks::choose_rows(int row_tile, std::int64_t task_bytes) {
  const std::int64_t fitting =
      task_bytes / (4 * std::max<std::int64_t>(p_.head_dim + p_.head_dim_v, 1));
  rows_ = p_.decode() ? kDecodeRows : std::clamp(fitting, kMinRows, kMaxRows);
  rows_ = divide_up(rows_, row_tile) * row_tile;
  // Fewer, longer tasks pack less; but every thread shall have as much to do as the others. Under a
  // mask two tasks of a head, one early and one late, see as many keys as any other such pair.
  const std::int64_t even = threads_ * (p_.masked() ? 2 : 1);
  const auto balanced = [&] {
    const std::int64_t tasks = p_.batch * p_.heads_kv * blocks_of_head(p_.seq_q);
    return threads_ == 1 || tasks >= kManyTasks * threads_ || tasks % even == 0;
  };
  if (!p_.decode()) {
    while (rows_ - row_tile >= kMinRows && !balanced()) rows_ -= row_tile;
    even_out_rows(row_tile);
  }
  // Ragged sequences below the longest may put several heads into one task.
  max_rows_ = rows_;
}

// As many tasks of a head as before, with equal numbers of rows.
void RowBlocks::even_out_rows(int row_tile) {
  if (p_.seq_q >= rows_) {
    const std::int64_t blocks = divide_up(p_.seq_q, rows_);
    rows_ = divide_up(divide_up(p_.seq_q, blocks), row_tile) * row_tile;
  } else if (p_.group() > 0) {
    rows_ = divide_up(p_.group(), blocks_of_head(p_.seq_q)) * p_.seq_q;
  }
}

void RowBlocks::choose_parts() {
  parts_ = 1;
  if (!p_.decode() || rows_tasks_ == 0) return;
  const std::int64_t most = std::max<std::int64_t>(1, p_.seq_kv / kMinPartKeys);
  const auto even = [&] {
    const std::int64_t tasks = rows_tasks_ * parts_;
    return tasks % threads_ == 0 || tasks >= kFewTasks * threads_;
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
  const std::int64_t lo = divide(std::min(first.lo, last.hi), panel_).quotient;
  if (parts_ == 1) return {lo * panel_, last.hi};
  const std::int64_t count = divide_up(last.hi, panel_) - lo;
  return {(lo + count * block.part / parts_) * panel_,
          std::min((lo + count * (block.part + 1) / parts_) * panel_, last.hi)};
}

bool RowBlocks::block(std::int64_t task, const AttentionTables& tables, RowBlock& block) const {
  const Division part = divide(task, parts_);
  const Division of_head = divide(part.quotient, tasks_per_head_);
  const Division head = divide(of_head.quotient, p_.heads_kv);
  block.sequence = AttentionSequence::of(p_, tables, head.quotient);
  block.head_kv = head.remainder;
  block.part = part.remainder;
  const std::int64_t seq_q = block.sequence.seq_q;
  const std::int64_t blocks = seq_q == p_.seq_q ? tasks_per_head_ : blocks_of_head(seq_q);
  // The last queries see the most keys under a causal mask.
  const std::int64_t index = blocks - 1 - of_head.remainder;
  if (index < 0) return false;
  if (seq_q >= rows_) {
    const Division query = divide(index, group_);
    block.first_head = block.head_kv * group_ + query.remainder;
    block.heads = 1;
    block.first_query = query.quotient * rows_;
    block.queries = std::min(rows_, seq_q - block.first_query);
  } else {
    const std::int64_t heads = divide(rows_, seq_q).quotient;
    block.first_head = block.head_kv * group_ + index * heads;
    block.heads = std::min(heads, (block.head_kv + 1) * group_ - block.first_head);
    block.first_query = 0;
    block.queries = seq_q;
  }
  block.keys = keys_of(block);
  return true;
}

}  // namespace pareto
