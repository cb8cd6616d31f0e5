// W for kernels that gather x: SELL-C-σ with as many lanes as a vector has, sorted over a whole
// chunk.
//
// W is cut into chunks of rows of equal work (one per thread). Within a chunk, rows are cut into
// segments of at most four times the mean length, so that one long row neither fills a slice with
// padding nor stands alone; segments are sorted by length and grouped into slices of one per lane,
// padded with zeros at column K, behind the row of x.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/aligned_buffer.h"
#include "kernels/sparse/csr_rows.h"
#include "reference/sparse.h"

namespace pareto {

struct SellSlice {
  std::int64_t start = 0;  ///< of its entries; entry j of lane l at start + lanes·j + l
  std::int64_t count = 0;  ///< entries per lane
};

class SellSlices {
 public:
  /// `format` csr or sell; W is read from `in` and copied.
  SellSlices(const SparseProblem& problem, std::span<const Tensor> in, int lanes, int chunks);

  [[nodiscard]] int chunks() const { return static_cast<int>(first_row_.size()) - 1; }
  [[nodiscard]] std::int64_t first_row(int chunk) const {
    return first_row_[static_cast<std::size_t>(chunk)];
  }
  /// Rows of a chunk; the row after them is a dummy for lanes without a segment.
  [[nodiscard]] std::int64_t rows(int chunk) const {
    return first_row(chunk + 1) - first_row(chunk);
  }
  /// Slices of a chunk: from here to the next chunk's first.
  [[nodiscard]] std::int64_t first_slice(int chunk) const {
    return first_slice_[static_cast<std::size_t>(chunk)];
  }
  [[nodiscard]] const SellSlice& slice(std::int64_t s) const {
    return slices_[static_cast<std::size_t>(s)];
  }
  /// Row within the chunk of each lane of slice s.
  [[nodiscard]] const std::int32_t* row(std::int64_t s) const { return row_.data() + s * lanes_; }
  [[nodiscard]] const float* values() const { return values_.data(); }
  /// Columns: 16 bits where K itself, the place of the zero, fits; else 32.
  [[nodiscard]] bool has_short_indices() const { return index32_.size() == 0; }
  [[nodiscard]] const std::uint16_t* index16() const { return index16_.data(); }
  [[nodiscard]] const std::int32_t* index32() const { return index32_.data(); }
  [[nodiscard]] std::size_t bytes() const {
    return values_.bytes() + index16_.bytes() + index32_.bytes() +
           slices_.size() * sizeof(SellSlice) + row_.size() * sizeof(row_[0]);
  }

 private:
  struct Segment {
    std::int32_t row = 0;  ///< within the chunk
    std::int64_t begin = 0;
    std::int64_t count = 0;
  };
  std::vector<Segment> segments(const CsrRows& rows, int chunk) const;
  void add_slices(std::span<const Segment> segments);
  void fill(const CsrRows& rows, std::span<const Segment> segments, std::int64_t K);

  int lanes_;
  std::vector<std::int64_t> first_row_;    ///< of each chunk, and N
  std::vector<std::int64_t> first_slice_;  ///< of each chunk, and their number
  std::vector<SellSlice> slices_;
  std::vector<std::int32_t> row_;  ///< [slice][lanes]
  AlignedBuffer<float> values_;
  AlignedBuffer<std::uint16_t> index16_;
  AlignedBuffer<std::int32_t> index32_;
};

}  // namespace pareto
