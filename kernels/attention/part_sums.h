// Partial results of attention over parts of the keys, kept until all parts are there.
#pragma once

#include <cstdint>

#include "harness/aligned_buffer.h"
#include "kernels/attention/finish_row.h"
#include "kernels/attention/row_blocks.h"

namespace pareto {

class PartSums {
 public:
  PartSums() = default;
  /// Room for every row of every task; a row of o has `width` floats.
  PartSums(const RowBlocks& blocks, std::int64_t width);
  /// Room for `tasks` tasks of up to `rows` rows.
  PartSums(std::int64_t tasks, std::int64_t rows, std::int64_t width);

  /// Takes row r of task number `task`; o[width] is not normalized.
  void keep(std::int64_t task, std::int64_t r, const SoftmaxState& state, const float* o);
  /// Adds the parts of row r of a row task into o[width], at their common maximum.
  SoftmaxState combine(std::int64_t row_task, std::int64_t r, float* o) const {
    return combine(row_task * parts_, parts_, r, o);
  }
  /// The same of tasks first … first + parts − 1.
  SoftmaxState combine(std::int64_t first, std::int64_t parts, std::int64_t r, float* o) const;

 private:
  std::int64_t parts_ = 1;
  std::int64_t rows_ = 0;  ///< per task
  std::int64_t width_ = 0;
  AlignedBuffer<float> o_;             ///< [tasks][rows][width]
  AlignedBuffer<SoftmaxState> state_;  ///< [tasks][rows]
};

}  // namespace pareto
