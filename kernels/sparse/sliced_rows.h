// Unstructured W for kernels whose lanes run over tokens: sliced ELL per block of columns.
//
// W is cut into chunks of rows and blocks of columns, so small that the block's
// panel of x stays in L1. Within a chunk and block, rows are sorted by their number of nonzeros and
// grouped by `group`; a group is padded to its longest row with entries that point at a row of
// zeros behind the panel, which therefore multiply 0 by 0. Entries of a group stand interleaved,
// {value, byte offset into the panel}: one stream per chunk.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/aligned_buffer.h"
#include "reference/sparse.h"

namespace pareto {

inline constexpr int kMaxSlicedGroup = 4;

/// Sizes of a sliced product.
struct SlicedShape {
  int tokens = 16;           ///< of a panel of x
  int group = 4;             ///< rows multiplied side by side, up to kMaxSlicedGroup
  std::int64_t block = 512;  ///< columns of a panel
};

struct SlicedEntry {
  float value = 0;
  std::uint32_t offset = 0;  ///< bytes from the panel's beginning
};

struct SlicedGroup {
  std::int64_t start = 0;                  ///< of its entries
  std::int32_t count = 0;                  ///< entries per row
  std::int32_t row[kMaxSlicedGroup] = {};  ///< within the chunk; the dummy row where there is none
};

class SlicedRows {
 public:
  /// `format` csr or sell; W is read from `in` and copied.
  SlicedRows(const SparseProblem& problem, std::span<const Tensor> in, const SlicedShape& shape,
             int chunks);

  [[nodiscard]] const SlicedShape& shape() const { return shape_; }
  [[nodiscard]] int chunks() const { return static_cast<int>(first_row_.size()) - 1; }
  [[nodiscard]] std::int64_t blocks() const { return blocks_; }
  [[nodiscard]] std::int64_t first_row(int chunk) const {
    return first_row_[static_cast<std::size_t>(chunk)];
  }
  /// Rows of a chunk; the row after them is the dummy row.
  [[nodiscard]] std::int64_t rows(int chunk) const {
    return first_row(chunk + 1) - first_row(chunk);
  }
  [[nodiscard]] std::span<const SlicedGroup> groups(int chunk, std::int64_t block) const {
    const std::int64_t at = chunk * blocks_ + block;
    return {groups_.data() + first_group_[static_cast<std::size_t>(at)],
            static_cast<std::size_t>(first_group_[static_cast<std::size_t>(at) + 1] -
                                     first_group_[static_cast<std::size_t>(at)])};
  }
  [[nodiscard]] const SlicedEntry* entries() const { return entries_.data(); }
  [[nodiscard]] std::size_t bytes() const {
    return entries_.bytes() + groups_.size() * sizeof(SlicedGroup);
  }

 private:
  struct Rows;
  void add_groups(const Rows& rows, int chunk, std::int64_t block);
  void fill(const Rows& rows);

  SlicedShape shape_;
  std::int64_t blocks_ = 0;
  std::vector<std::int64_t> first_row_;    ///< of each chunk, and N
  std::vector<std::int64_t> first_group_;  ///< of each (chunk, block), and their number
  std::vector<SlicedGroup> groups_;
  AlignedBuffer<SlicedEntry> entries_;
};

}  // namespace pareto
