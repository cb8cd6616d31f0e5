// Reading rows of W from the canonical operands as fp32, without allocation: for packing and for
// the portable variant.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/tensor.h"
#include "reference/sparse.h"

namespace pareto {

/// The weights of one row that are not pruned, columns ascending.
struct StoredRow {
  std::int64_t n = -1;  ///< row of W; −1: a lane behind the last row
  std::int64_t count = 0;
};

/// Rows come in the order of storage: of `lanes()` places, each holds one row or none.
class StoredRows {
 public:
  StoredRows(const SparseProblem& problem, std::span<const Tensor> in) : p_(problem), in_(in) {}

  [[nodiscard]] std::int64_t lanes() const {
    return p_.format == SparseFormat::kSell ? p_.slices() * kSellRows : p_.N;
  }
  /// Writes up to K columns and values (zeros inside bsr blocks and 2to4's filling left out).
  StoredRow read(std::int64_t lane, std::int32_t* k, float* value) const;

 private:
  StoredRow csr(std::int64_t n, std::int32_t* k, float* value) const;
  StoredRow sell(std::int64_t lane, std::int32_t* k, float* value) const;
  StoredRow bsr(std::int64_t n, std::int32_t* k, float* value) const;
  StoredRow two_to_four(std::int64_t n, std::int32_t* k, float* value) const;
  StoredRow bitmap(std::int64_t n, std::int32_t* k, float* value) const;

  const SparseProblem& p_;
  std::span<const Tensor> in_;
};

/// The masks [N][words()] of format bitmap, whose offsets and values are those of csr, too: from W
/// in either format.
std::vector<std::uint64_t> bitmap_masks(const SparseProblem& problem, std::span<const Tensor> in);

}  // namespace pareto
