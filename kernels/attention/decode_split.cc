#include "kernels/attention/decode_split.h"

#include <algorithm>

namespace pareto {
namespace {

// With more rows, arithmetic takes so much longer than reading that a second walk costs nothing,
// while o would leave the inner caches.
constexpr std::int64_t kMaxRows = 64;
// Below this, a thread is not worth waking: about a microsecond of reading.
constexpr std::int64_t kMinThreadBytes = 32 << 10;
// A part shorter than this goes to the neighbour: combining it costs as much as reading it.
constexpr std::int64_t kMinPartPages = 4;

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Keys that one of queries [first, last] of a sequence may see.
KeyRange keys_of_queries(const AttentionProblem& p, const AttentionSequence& s, std::int64_t first,
                         std::int64_t last) {
  // Both ends of what a query sees ascend with the query.
  const KeyRange low = p.visible(first, s.seq_q, s.seq_kv);
  const KeyRange high = p.visible(last, s.seq_q, s.seq_kv);
  return {std::min(low.lo, high.hi), high.hi};
}

}  // namespace

DecodeSplit::DecodeSplit(const AttentionProblem& p, int threads, std::int64_t page_keys,
                         std::int64_t page_bytes)
    : p_(p),
      threads_(threads),
      page_keys_(page_keys),
      min_pages_(std::max<std::int64_t>(1, kMinThreadBytes / page_bytes)),
      max_rows_(std::min(kMaxRows, p.group() * p.seq_q)),
      chunks_(divide_up(p.group() * p.seq_q, kMaxRows)) {
  begin_.resize(static_cast<std::size_t>(p.batch * p.heads_kv * chunks_) + 1);
  cut_.resize(static_cast<std::size_t>(threads) + 1);
  cut_units_.reserve(static_cast<std::size_t>(threads));
}

DecodeUnit DecodeSplit::unit(std::int64_t index, const AttentionTables& tables) const {
  DecodeUnit unit;
  const std::int64_t head = index / chunks_;
  unit.sequence = AttentionSequence::of(p_, tables, head / p_.heads_kv);
  unit.head_kv = head % p_.heads_kv;
  unit.first_row = index % chunks_ * kMaxRows;
  const std::int64_t seq_q = unit.sequence.seq_q;
  unit.rows = std::clamp<std::int64_t>(p_.group() * seq_q - unit.first_row, 0, kMaxRows);
  if (unit.rows == 0) return unit;
  const std::int64_t first = unit.first_row % seq_q;
  const bool one_head = first + unit.rows <= seq_q;
  unit.keys = keys_of_queries(p_, unit.sequence, one_head ? first : 0,
                              one_head ? first + unit.rows - 1 : seq_q - 1);
  unit.pages = {unit.keys.lo / page_keys_, divide_up(unit.keys.hi, page_keys_)};
  if (unit.keys.size() == 0) unit.pages = {};
  return unit;
}

void DecodeSplit::plan(const AttentionTables& tables) {
  const auto units = static_cast<std::int64_t>(begin_.size()) - 1;
  for (std::int64_t at = 0; at < units; ++at) {
    const DecodeUnit u = unit(at, tables);
    // Rows without a key are a page's worth of work: somebody must write them.
    begin_[at + 1] = begin_[at] + (u.rows > 0 ? std::max<std::int64_t>(u.pages.size(), 1) : 0);
  }
  const std::int64_t total = begin_[units];
  active_ = static_cast<int>(std::clamp<std::int64_t>(total / min_pages_, 1, threads_));
  for (std::int64_t t = 0; t <= threads_; ++t) {
    cut_[t] = t < active_ ? snapped(total * t / active_) : total;
  }
  cut_units_.clear();
  for (std::int64_t t = 1; t < active_; ++t) {
    const std::int64_t at = cut_[t] < total ? unit_at(cut_[t]) : units;
    if (at == units || begin_[at] == cut_[t] || cut_[t] == cut_[t - 1]) continue;
    if (!cut_units_.empty() && cut_units_.back().unit == at) {
      ++cut_units_.back().parts;
      continue;
    }
    const std::int64_t used =
        cut_units_.empty() ? 0 : cut_units_.back().first_part + cut_units_.back().parts;
    cut_units_.push_back({.unit = at, .first_part = used, .parts = 2});
  }
}

std::int64_t DecodeSplit::unit_at(std::int64_t page) const {
  return std::upper_bound(begin_.begin(), begin_.end(), page) - begin_.begin() - 1;
}

std::int64_t DecodeSplit::snapped(std::int64_t page) const {
  if (page >= begin_.back()) return page;
  const std::int64_t at = unit_at(page);
  if (page - begin_[at] < kMinPartPages) return begin_[at];
  if (begin_[at + 1] - page < kMinPartPages) return begin_[at + 1];
  return page;
}

bool DecodeSplit::piece(int thread, std::int64_t index, DecodePiece& piece) const {
  const std::int64_t from = cut_[thread];
  const std::int64_t to = cut_[thread + 1];
  if (from >= to) return false;
  piece.unit = unit_at(from) + index;
  if (piece.unit + 1 >= static_cast<std::int64_t>(begin_.size())) return false;
  const std::int64_t begin = begin_[piece.unit];
  const std::int64_t end = begin_[piece.unit + 1];
  if (begin >= to) return false;
  piece.pages = {std::max(from, begin) - begin, std::min(to, end) - begin};
  piece.whole = from <= begin && end <= to;
  piece.part = -1;
  if (piece.whole) return true;
  for (const CutUnit& cut : cut_units_) {
    if (cut.unit != piece.unit) continue;
    // Parts are numbered by the cuts before them.
    std::int64_t before = 0;
    for (int t = 1; t <= thread; ++t) {
      if (cut_[t] > begin && cut_[t] < end && cut_[t] != cut_[t - 1]) ++before;
    }
    piece.part = cut.first_part + before;
  }
  return true;
}

}  // namespace pareto
