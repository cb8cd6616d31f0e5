// Packing rows of x into strips, portably.
#pragma once

#include <cstdint>

namespace pareto {

/// strip[K][rows] from rows of `stride` elements; `strip` continues for `steps` ≥ K with zeros.
inline void pack_strip(const float* x, std::int64_t stride, int rows, std::int64_t K,
                       std::int64_t steps, float* strip) {
  for (std::int64_t k = 0; k < steps; ++k) {
    for (int i = 0; i < rows; ++i) *strip++ = k < K ? x[i * stride + k] : 0.0F;
  }
}

}  // namespace pareto
