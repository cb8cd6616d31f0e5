// W of format bsr, or written out densely, as AMX reads it: steps of 32 columns, or 16, of a panel
// of rows.
//
// A step is [pair of columns][row][2]: whole tiles of 16 pairs × 16 rows, two of them side by side
// where blocks have 32 rows and more. Blocks of 16 columns fill half a tile; where two of them
// stand at columns 32·j and 32·j + 16 they are one whole step, so that the products of a row with
// half its blocks are three quarters as many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "harness/aligned_buffer.h"
#include "harness/tensor.h"
#include "reference/sparse.h"

namespace pareto {

/// Per panel its whole steps and then its half steps, columns ascending in each. bf16.
class StepPanels {
 public:
  static constexpr int kStepColumns = 32;
  static constexpr int kHalfColumns = 16;

  /// Steps that stand one after the other.
  struct Run {
    const std::int32_t* at = nullptr;  ///< first column of each step, in units of 16
    const std::byte* w = nullptr;
    std::int64_t steps = 0;
  };

  /// Format bsr; panels of 16 rows for blocks of 16, else of 32.
  StepPanels(const SparseProblem& problem, std::span<const Tensor> in);
  /// w[N][columns], columns a multiple of 32; panels of 32 rows.
  StepPanels(const std::uint16_t* w, std::int64_t N, std::int64_t columns);

  /// Rows of a panel: 16 or 32.
  [[nodiscard]] int rows() const { return rows_; }
  [[nodiscard]] std::int64_t panels() const { return panels_; }
  [[nodiscard]] std::size_t bytes() const {
    return begin_.bytes() + start_.bytes() + at_.bytes() + values_.bytes();
  }
  /// A panel's steps that begin within columns [32·step, 32·(step + steps)).
  [[nodiscard]] Run whole(std::int64_t panel, std::int64_t step, std::int64_t steps) const;
  [[nodiscard]] Run half(std::int64_t panel, std::int64_t step, std::int64_t steps) const;

 private:
  void pack_panel(const SparseProblem& problem, std::span<const Tensor> in, std::int64_t panel);
  [[nodiscard]] std::int64_t step_bytes(int columns) const {
    return std::int64_t{columns} * rows_ * 2;
  }
  [[nodiscard]] Run within(std::int64_t list, std::int64_t step, std::int64_t steps,
                           const std::byte* w, std::int64_t bytes) const;

  int rows_;
  std::int64_t panels_;
  AlignedBuffer<std::int64_t> begin_;  ///< [panel][whole, half], and the end: index into at_
  AlignedBuffer<std::int64_t> start_;  ///< [panel + 1]: first byte of a panel's values
  AlignedBuffer<std::int32_t> at_;
  AlignedBuffer<std::byte> values_;
};

}  // namespace pareto
