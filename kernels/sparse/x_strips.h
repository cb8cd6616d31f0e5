// x for kernels whose lanes run over rows of W: strips of a few tokens, fp32, in the order in which
// a tile reads them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "harness/aligned_buffer.h"

namespace pareto {

/// Strip s holds tokens s·height … and is [k_padded/group][height][group]; tokens behind M and
/// columns behind K are 0. A column may as well be a dword of two columns of 16 bits.
class XStrips {
 public:
  /// `heights`: the heights that tiles exist for, ascending. k_padded: a multiple of `group`.
  XStrips(std::int64_t M, std::int64_t k_padded, std::span<const int> heights,
          std::int64_t group = 4)
      : M_(M), k_padded_(k_padded), group_(group) {
    if (M == 0) return;
    const std::int64_t largest = heights.back();
    count_ = (M + largest - 1) / largest;
    const std::int64_t balanced = (M + count_ - 1) / count_;
    height_ = *std::lower_bound(heights.begin(), heights.end(), balanced);
    data_ = AlignedBuffer<float>(count_ * height_ * k_padded_);
  }

  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] int height() const { return static_cast<int>(height_); }
  /// Tokens of strip s that exist; a strip behind the last one has none.
  [[nodiscard]] std::int64_t tokens(std::int64_t s) const {
    return std::clamp<std::int64_t>(M_ - s * height_, 0, height_);
  }
  [[nodiscard]] const float* strip(std::int64_t s) const {
    return data_.data() + s * height_ * k_padded_;
  }
  /// First `group` columns of token m; the next ones stand group·height further.
  [[nodiscard]] float* token(std::int64_t m) {
    return data_.data() + m / height_ * height_ * k_padded_ + m % height_ * group_;
  }

 private:
  std::int64_t M_ = 0;
  std::int64_t k_padded_ = 0;
  std::int64_t group_ = 4;
  std::int64_t count_ = 0;
  std::int64_t height_ = 1;
  AlignedBuffer<float> data_;
};

}  // namespace pareto
