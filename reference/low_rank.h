// Truncated singular value decomposition in fp64.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace pareto {

/// W ≈ A·B with A[rows, rank] = U·√S and B[rank, columns] = √S·Vᵀ of the largest `rank` singular
/// values: the best approximation of that rank.
struct LowRankFactors {
  std::vector<double> a;
  std::vector<double> b;
  std::vector<double> singular_values;  ///< all min(rows, columns) of them, descending
};

/// One-sided Jacobi rotations (Hestenes 1958) until all columns are orthogonal to 1e-14 of their
/// norms, after a Householder reduction to a square triangle: time grows as
/// min(rows, columns)³ · 10 sweeps. InputError if w holds NaN or infinities; a rank above
/// min(rows, columns) is filled up with zeros.
LowRankFactors truncated_svd(std::span<const float> w, std::int64_t rows, std::int64_t columns,
                             std::int64_t rank);

}  // namespace pareto
