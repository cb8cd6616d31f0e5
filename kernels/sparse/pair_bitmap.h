// W of format csr, bitmap or 2to4 as a bitmap over pairs of columns: per pair 32 places of each
// vector of 16 rows as a mask, and the nonzeros one after the other in the order of these places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/aligned_buffer.h"
#include "harness/tensor.h"
#include "reference/sparse.h"

namespace pareto {

/// Panels of `vectors` · 16 rows, bf16. A place is [row][column of the pair].
class PairBitmap {
 public:
  static constexpr int kLanes = 16;  ///< rows of a vector

  /// `pairs` of columns of a row, at least ⌈K/2⌉. Panels are cut into chunks of `chunk_pairs`; 0:
  /// one chunk each.
  PairBitmap(const SparseProblem& problem, std::span<const Tensor> in, int vectors,
             std::int64_t pairs, std::int64_t chunk_pairs = 0);

  [[nodiscard]] std::int64_t pairs() const { return pairs_; }
  [[nodiscard]] std::int64_t panels() const { return panels_; }
  /// Masks from a pair of columns on, [pair][vector]; behind the last ones, two of zeros.
  [[nodiscard]] const std::uint32_t* masks(std::int64_t panel, std::int64_t pair) const {
    return mask_.data() + (panel * pairs_ + pair) * vectors_;
  }
  /// Values from chunk `chunk` of a panel on; 64 bytes more can be read.
  [[nodiscard]] const std::byte* values(std::int64_t panel, std::int64_t chunk) const {
    return reinterpret_cast<const std::byte*>(values_.data() + start_[panel * chunks_ + chunk]);
  }
  [[nodiscard]] std::size_t bytes() const {
    return mask_.bytes() + start_.bytes() + values_.bytes();
  }

 private:
  std::int64_t pack(const std::vector<std::uint16_t>& codes, std::int64_t panel,
                    std::int64_t place);

  static constexpr int kMasksBehind = 2;

  int vectors_;
  std::int64_t pairs_;
  std::int64_t panels_;
  std::int64_t chunk_pairs_;
  std::int64_t chunks_;                ///< of a panel
  AlignedBuffer<std::uint32_t> mask_;  ///< [panel][pair][vectors]
  AlignedBuffer<std::int64_t> start_;  ///< [panel][chunk]: index of the first value
  AlignedBuffer<std::uint16_t> values_;
};

}  // namespace pareto
