// Storing W in the sparse formats of sparse.h, and reading its rows back.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/op.h"
#include "reference/sparse.h"

namespace pareto {

/// Fills the slots of W (values, index, offset, meta, row, row_length, or w) from a dense rounded
/// w[N,K]; every weight that is not zero is stored. InputError where a group of four holds more
/// than two nonzeros under 2to4. Not for lowrank.
void encode_sparse_weights(const SparseProblem& problem, HostTensor w, Operands& operands);

/// The stored weights of one row, columns ascending. Under skip_x all K of them, zeros included.
struct SparseRow {
  std::vector<std::int64_t> k;
  std::vector<double> value;
};

/// Reads rows of W from operands in any format but lowrank. The operands must outlive it.
class SparseReader {
 public:
  SparseReader(const SparseProblem& problem, std::span<const Tensor> in);
  /// Weights of row n that are not pruned: zeros inside bsr blocks and the filling of 2to4 are.
  void read(std::int64_t n, SparseRow& row) const;
  /// Number of weights that are not pruned, all rows together.
  [[nodiscard]] std::int64_t nonzeros() const;

 private:
  void read_csr(std::int64_t n, SparseRow& row) const;
  void read_sell(std::int64_t n, SparseRow& row) const;
  void read_bsr(std::int64_t n, SparseRow& row) const;
  void read_2to4(std::int64_t n, SparseRow& row) const;
  void read_bitmap(std::int64_t n, SparseRow& row) const;
  void read_dense(std::int64_t n, SparseRow& row) const;

  SparseProblem p_;
  std::vector<Tensor> in_;
  std::vector<std::int64_t> lane_of_row_;  ///< sell: slice·16 + lane of each row
};

}  // namespace pareto
