// How decode shares out the KV cache: all pages that a call reads, in one row, cut into one piece
// of equal length per thread. At most threads − 1 heads are cut; their parts are combined.
#pragma once

#include <cstdint>
#include <vector>

#include "reference/attention.h"

namespace pareto {

/// Rows that one walk over the pages of a KV head serves.
struct DecodeUnit {
  AttentionSequence sequence;
  std::int64_t head_kv = 0;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  KeyRange keys;   ///< that any of the rows may see
  KeyRange pages;  ///< that hold them

  [[nodiscard]] std::int64_t head(std::int64_t r, std::int64_t group) const {
    return head_kv * group + (first_row + r) / sequence.seq_q;
  }
  [[nodiscard]] std::int64_t query(std::int64_t r) const {
    return (first_row + r) % sequence.seq_q;
  }
};

/// A unit's pages that one thread walks.
struct DecodePiece {
  std::int64_t unit = 0;
  KeyRange pages;  ///< relative to the unit's first
  bool whole = false;
  std::int64_t part = -1;  ///< number among all parts of cut units; those of one unit follow
};

/// One cut unit and its parts.
struct CutUnit {
  std::int64_t unit = 0;
  std::int64_t first_part = 0;
  std::int64_t parts = 0;
};

class DecodeSplit {
 public:
  DecodeSplit(const AttentionProblem& p, int threads, std::int64_t page_keys,
              std::int64_t page_bytes);

  /// Most rows of a unit, and most parts of all cut units together.
  [[nodiscard]] std::int64_t max_rows() const { return max_rows_; }
  [[nodiscard]] std::int64_t max_parts() const { return 2 * static_cast<std::int64_t>(threads_); }

  /// Looks at one call's lengths and cuts anew; the others refer to this. Allocates nothing.
  void plan(const AttentionTables& tables);
  /// Threads worth waking.
  [[nodiscard]] int active() const { return active_; }
  [[nodiscard]] DecodeUnit unit(std::int64_t index, const AttentionTables& tables) const;
  /// The `index`-th piece of a thread; false if it has fewer.
  bool piece(int thread, std::int64_t index, DecodePiece& piece) const;
  [[nodiscard]] const std::vector<CutUnit>& cut_units() const { return cut_units_; }

 private:
  [[nodiscard]] std::int64_t unit_at(std::int64_t page) const;
  [[nodiscard]] std::int64_t snapped(std::int64_t page) const;

  AttentionProblem p_;
  int threads_;
  std::int64_t page_keys_;
  std::int64_t min_pages_;
  std::int64_t max_rows_;
  std::int64_t chunks_;  ///< units per KV head
  int active_ = 1;
  std::vector<std::int64_t> begin_;  ///< [units + 1], in pages
  std::vector<std::int64_t> cut_;    ///< [threads + 1], in pages
  std::vector<CutUnit> cut_units_;
};

}  // namespace pareto
