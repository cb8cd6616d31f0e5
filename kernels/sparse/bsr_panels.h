// Block-sparse W in panels: each stored block is transposed to [k][rows], so that it is a dense
// tile of its own. Included inside V's target region after panel_tiles.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "kernels/sparse/panel_tiles.h"

namespace pareto {

template <typename V, DType kT, int kPair = 1>
class BsrPanels : public PanelWeights {
 public:
  BsrPanels(const SparseProblem& problem, std::span<const Tensor> in)
      : p_(problem),
        rows_(std::min<std::int64_t>(p_.block, 2 * V::kLanes)),
        offset_(p_.block_rows() + 1),
        column_(in[kSparseIndex].elements()),
        values_(in[kSparseValues].elements() * kSize) {
    std::copy_n(in[kSparseOffset].as<const std::int64_t>(), offset_.size(), offset_.data());
    std::copy_n(in[kSparseIndex].as<const std::int32_t>(), column_.size(), column_.data());
    for (std::int64_t r = 0; r < p_.block_rows(); ++r) {
      for (std::int64_t i = offset_[r]; i < offset_[r + 1]; ++i) pack(in[kSparseValues], r, i);
    }
  }

  [[nodiscard]] std::int64_t k_padded() const override {
    return p_.block_columns() * p_.block / kPair;
  }
  [[nodiscard]] std::int64_t panels() const override { return (p_.N + rows_ - 1) / rows_; }
  [[nodiscard]] std::int64_t first_row(std::int64_t panel) const override { return panel * rows_; }
  [[nodiscard]] std::size_t bytes() const override {
    return offset_.bytes() + column_.bytes() + values_.bytes();
  }
  [[nodiscard]] std::int64_t workspace(const XStrips& x) const override {
    return x.height() * rows_;
  }

  void multiply(std::int64_t panel, const XStrips& x, const PanelIsa& isa,
                const SparseEpilogue& epilogue, std::int64_t rows, float* c) const override {
    const std::int64_t r = panel * rows_ / p_.block;
    const std::byte* first = panel_data(r, panel * rows_ % p_.block / rows_);
    for (std::int64_t s = 0; s < x.count(); ++s) {
      std::fill_n(c, x.height() * rows_, 0.0F);
      const std::byte* w = first;
      for (std::int64_t i = offset_[r]; i < offset_[r + 1]; ++i, w += p_.block * rows_ * kSize) {
        const float* at = x.strip(s) + column_[i] * (p_.block / kPair) * x.height();
        const std::int64_t k4 = p_.block / kPair / 4;
        if (rows_ == V::kLanes) {
          dense_tile_of<V, 1>(x.height(), StreamSource<V, kStream, 1>{w}, at, k4, c);
        } else {
          dense_tile_of<V, 2>(x.height(), StreamSource<V, kStream, 2>{w}, at, k4, c);
        }
      }
      isa.finish(epilogue, s * x.height(), x.tokens(s), panel * rows_, rows, c,
                 static_cast<int>(rows_));
    }
  }

 private:
  static constexpr std::int64_t kSize = kT == DType::kF32 ? 4 : 2;
  static constexpr DType kStream = kPair == 2 ? DType::kF32 : kT;  ///< a lane is a dword

  // Panel `part` of block row r: all its blocks one after the other.
  [[nodiscard]] std::int64_t panel_offset(std::int64_t r, std::int64_t part) const {
    const std::int64_t blocks = offset_[r + 1] - offset_[r];
    return (offset_[r] * p_.block + part * blocks * rows_) * p_.block * kSize;
  }
  [[nodiscard]] const std::byte* panel_data(std::int64_t r, std::int64_t part) const {
    return values_.data() + panel_offset(r, part);
  }

  void pack(const Tensor& values, std::int64_t r, std::int64_t i) {
    const std::byte* from = values.data + i * p_.block * p_.block * kSize;
    for (std::int64_t n = 0; n < p_.block; ++n) {
      std::byte* to = values_.data() + panel_offset(r, n / rows_) +
                      ((i - offset_[r]) * p_.block * rows_ + n % rows_ * kPair) * kSize;
      for (std::int64_t k = 0; k < p_.block; ++k) {
        std::memcpy(to + (k / kPair * kPair * rows_ + k % kPair) * kSize,
                    from + (n * p_.block + k) * kSize, kSize);
      }
    }
  }

  SparseProblem p_;
  std::int64_t rows_;  ///< of a panel: two vectors, or one where the block has no more
  AlignedBuffer<std::int64_t> offset_;
  AlignedBuffer<std::int32_t> column_;
  AlignedBuffer<std::byte> values_;
};

}  // namespace pareto
