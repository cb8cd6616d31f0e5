// W of format csr or sell as fp32 rows in order: what kernels with a layout of their own pack from.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/tensor.h"
#include "reference/sparse.h"

namespace pareto {

/// Row n: column and value from start[n] to start[n + 1], columns ascending.
struct CsrRows {
  std::int64_t N = 0;
  std::vector<std::int64_t> start;
  std::vector<std::int32_t> column;
  std::vector<float> value;

  static CsrRows of(const SparseProblem& problem, std::span<const Tensor> in);

  [[nodiscard]] std::int64_t count(std::int64_t n) const {
    return start[static_cast<std::size_t>(n) + 1] - start[static_cast<std::size_t>(n)];
  }
  /// First rows of `chunks` chunks of equal work, and N.
  [[nodiscard]] std::vector<std::int64_t> chunks_of_equal_work(int chunks) const;
};

}  // namespace pareto
