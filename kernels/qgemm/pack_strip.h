// Packing rows of x into strips, portably.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pareto {

/// The strips of dense_tile.h hold 16 dwords of each row side by side, [chunk][rows]
/// [kChunkStride]. The 8 bytes between rows put the broadcasts of one step into different banks of
/// L1, for cores that read two at once but not of one bank; Zen 4 does not mind either way.
inline constexpr int kChunkDwords = 16;
inline constexpr int kChunkBytes = 64;
inline constexpr int kChunkStride = kChunkBytes + 8;

/// strip[K][rows] from rows of `stride` elements; `strip` continues for `steps` ≥ K with zeros.
template <typename Element>
void pack_strip(const Element* x, std::int64_t stride, int rows, std::int64_t K, std::int64_t steps,
                Element* strip) {
  for (std::int64_t k = 0; k < steps; ++k) {
    for (int i = 0; i < rows; ++i) *strip++ = k < K ? x[i * stride + k] : Element{0};
  }
}

}  // namespace pareto
