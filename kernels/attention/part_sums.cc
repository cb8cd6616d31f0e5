#include "kernels/attention/part_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pareto {

PartSums::PartSums(const RowBlocks& blocks, std::int64_t width)
    : parts_(blocks.parts()),
      rows_(blocks.max_rows()),
      width_(width),
      o_(blocks.tasks() * blocks.max_rows() * width),
      state_(blocks.tasks() * blocks.max_rows()) {}

void PartSums::keep(std::int64_t task, std::int64_t r, const SoftmaxState& state, const float* o) {
  state_[task * rows_ + r] = state;
  std::copy_n(o, width_, o_.data() + (task * rows_ + r) * width_);
}

SoftmaxState PartSums::combine(std::int64_t row_task, std::int64_t r, float* o) const {
  const std::int64_t first = row_task * parts_ * rows_ + r;
  SoftmaxState total;
  for (std::int64_t part = 0; part < parts_; ++part) {
    total.max = std::max(total.max, state_[first + part * rows_].max);
  }
  std::fill_n(o, width_, 0.0F);
  // Without any key, every weight shall be 2^−∞ = 0.
  const bool none = total.max == -std::numeric_limits<float>::infinity();
  for (std::int64_t part = 0; part < parts_; ++part) {
    const std::int64_t at = first + part * rows_;
    const float weight = std::exp2(state_[at].max - (none ? 0.0F : total.max));
    total.sum += weight * state_[at].sum;
    const float* from = o_.data() + at * width_;
    for (std::int64_t c = 0; c < width_; ++c) o[c] += weight * from[c];
  }
  return total;
}

}  // namespace pareto
