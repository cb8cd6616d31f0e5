// Panels of W for the tile kernels: 32 columns of Wᵀ side by side, dwords of K in order. Portable;
// runs once, in `prepare`.
#pragma once

#include <algorithm>
#include <cstdint>

#include "harness/aligned_buffer.h"

namespace pareto {

/// panels[⌈N/columns⌉][steps][columns][per_step] from w[N,K] (host, row-major), with `pad`
/// beyond K and N; `convert` maps an element of w to the stored one.
template <typename Stored, typename Element, typename Convert>
void pack_panels(const Element* w, std::int64_t N, std::int64_t K, int columns, int per_step,
                 std::int64_t steps, Stored pad, Convert convert, Stored* panels) {
  for (std::int64_t n0 = 0; n0 < N; n0 += columns) {
    const auto used = static_cast<int>(std::min<std::int64_t>(columns, N - n0));
    for (std::int64_t step = 0; step < steps; ++step) {
      for (int j = 0; j < columns; ++j) {
        for (int i = 0; i < per_step; ++i) {
          const std::int64_t k = step * per_step + i;
          *panels++ = j < used && k < K ? convert(w[(n0 + j) * K + k]) : pad;
        }
      }
    }
  }
}

/// `count` values and zeros up to a multiple of `columns`.
template <typename T>
AlignedBuffer<T> padded_copy(const T* values, std::int64_t count, int columns) {
  AlignedBuffer<T> buffer((count + columns - 1) / columns * columns);
  std::copy_n(values, count, buffer.data());
  return buffer;
}

}  // namespace pareto
