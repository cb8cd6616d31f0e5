#include "kernels/sparse/sliced_rows.h"

#include <algorithm>
#include <numeric>

#include "kernels/sparse/csr_rows.h"

namespace pareto {

// W in rows, with the places where the blocks of columns begin.
struct SlicedRows::Rows : CsrRows {
  std::int64_t blocks = 0;
  std::vector<std::int64_t> block_start;  ///< [n][blocks + 1]

  Rows(const SparseProblem& problem, std::span<const Tensor> in, std::int64_t block)
      : CsrRows(CsrRows::of(problem, in)),
        blocks((problem.K + block - 1) / block),
        block_start(static_cast<std::size_t>(N * (blocks + 1))) {
    for (std::int64_t n = 0; n < N; ++n) mark_blocks(n, block);
  }

  [[nodiscard]] std::int64_t begin(std::int64_t n, std::int64_t b) const {
    return block_start[static_cast<std::size_t>(n * (blocks + 1) + b)];
  }
  [[nodiscard]] std::int64_t count(std::int64_t n, std::int64_t b) const {
    return begin(n, b + 1) - begin(n, b);
  }

 private:
  void mark_blocks(std::int64_t n, std::int64_t block);
};

void SlicedRows::Rows::mark_blocks(std::int64_t n, std::int64_t block) {
  std::int64_t at = start[static_cast<std::size_t>(n)];
  for (std::int64_t b = 0; b <= blocks; ++b) {
    while (at < start[static_cast<std::size_t>(n) + 1] &&
           column[static_cast<std::size_t>(at)] < b * block) {
      ++at;
    }
    block_start[static_cast<std::size_t>(n * (blocks + 1) + b)] = at;
  }
}

SlicedRows::SlicedRows(const SparseProblem& problem, std::span<const Tensor> in,
                       const SlicedShape& shape, int chunks)
    : shape_(shape) {
  const Rows rows(problem, in, shape.block);
  blocks_ = rows.blocks;
  first_row_ = rows.chunks_of_equal_work(chunks);
  first_group_ = {0};
  for (int chunk = 0; chunk < this->chunks(); ++chunk) {
    for (std::int64_t b = 0; b < blocks_; ++b) add_groups(rows, chunk, b);
  }
  fill(rows);
}

void SlicedRows::add_groups(const Rows& rows, int chunk, std::int64_t block) {
  const std::int64_t first = first_row(chunk);
  std::vector<std::int32_t> order(static_cast<std::size_t>(this->rows(chunk)));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return rows.count(first + a, block) > rows.count(first + b, block);
  });
  std::int64_t start =
      groups_.empty() ? 0
                      : groups_.back().start + std::int64_t{groups_.back().count} * shape_.group;
  for (std::size_t i = 0; i < order.size(); i += static_cast<std::size_t>(shape_.group)) {
    SlicedGroup group;
    group.start = start;
    group.count = static_cast<std::int32_t>(rows.count(first + order[i], block));
    if (group.count == 0) break;
    for (std::size_t r = 0; r < kMaxSlicedGroup; ++r) {
      const bool there = r < static_cast<std::size_t>(shape_.group) && i + r < order.size();
      group.row[r] = there ? order[i + r] : static_cast<std::int32_t>(order.size());
    }
    groups_.push_back(group);
    start += std::int64_t{group.count} * shape_.group;
  }
  first_group_.push_back(static_cast<std::int64_t>(groups_.size()));
}

void SlicedRows::fill(const Rows& rows) {
  const std::int64_t total =
      groups_.empty() ? 0
                      : groups_.back().start + std::int64_t{groups_.back().count} * shape_.group;
  entries_ = AlignedBuffer<SlicedEntry>(total);
  const auto row_bytes = static_cast<std::uint32_t>(shape_.tokens) * 4U;
  for (int chunk = 0; chunk < chunks(); ++chunk) {
    for (std::int64_t b = 0; b < blocks_; ++b) {
      for (const SlicedGroup& group : groups(chunk, b)) {
        for (int r = 0; r < shape_.group; ++r) {
          const bool there = group.row[r] < this->rows(chunk);
          const std::int64_t n = first_row(chunk) + group.row[r];
          const std::int64_t count = there ? rows.count(n, b) : 0;
          for (std::int64_t j = 0; j < group.count; ++j) {
            SlicedEntry& entry = entries_[group.start + j * shape_.group + r];
            if (j >= count) {
              entry = {0, static_cast<std::uint32_t>(shape_.block) * row_bytes};
              continue;
            }
            const auto at = static_cast<std::size_t>(rows.begin(n, b) + j);
            entry = {rows.value[at],
                     static_cast<std::uint32_t>(rows.column[at] - b * shape_.block) * row_bytes};
          }
        }
      }
    }
  }
}

}  // namespace pareto
