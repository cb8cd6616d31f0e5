#include "kernels/attention/part_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pareto {

PartSums::PartSums(const RowBlocks& blocks, std::int64_t width)
    : PartSums(blocks.tasks(), blocks.max_rows(), width) {
  parts_ = blocks.parts();
}

PartSums::PartSums(std::int64_t tasks, std::int64_t rows, std::int64_t width)
    : rows_(rows), width_(width), o_(tasks * rows * width), state_(tasks * rows) {}

void PartSums::keep(std::int64_t task, std::int64_t r, const SoftmaxState& state, const float* o) {
  state_[task * rows_ + r] = state;
  std::copy_n(o, width_, o_.data() + (task * rows_ + r) * width_);
}

SoftmaxState PartSums::combine(std::int64_t first, std::int64_t parts, std::int64_t r,
                               float* o) const {
  SoftmaxState total;
  for (std::int64_t part = first; part < first + parts; ++part) {
    total.max = std::max(total.max, state_[part * rows_ + r].max);
  }
  std::fill_n(o, width_, 0.0F);
  // Without any key, every weight shall be 2^−∞ = 0.
  const bool none = total.max == -std::numeric_limits<float>::infinity();
  for (std::int64_t part = first; part < first + parts; ++part) {
    const std::int64_t at = part * rows_ + r;
    const float weight = std::exp2(state_[at].max - (none ? 0.0F : total.max));
    total.sum += weight * state_[at].sum;
    const float* from = o_.data() + at * width_;
    for (std::int64_t c = 0; c < width_; ++c) o[c] += weight * from[c];
  }
  return total;
}

}  // namespace pareto
