// How threads share the tiles of a matrix product.
#pragma once

#include <cstdint>

namespace pareto {

/// Threads along M and along N.
struct ThreadGrid {
  int rows = 1;
  int columns = 1;
};

/// The grid that leaves the slowest thread the fewest tiles of strips × panels; of equal ones that
/// with most columns, which reads W once.
inline ThreadGrid thread_grid(std::int64_t strips, std::int64_t panels, int threads) {
  ThreadGrid best;
  std::int64_t fewest = -1;
  for (int rows = 1; rows <= threads; ++rows) {
    const int columns = threads / rows;
    const std::int64_t slowest = ((strips + rows - 1) / rows) * ((panels + columns - 1) / columns);
    if (fewest < 0 || slowest < fewest) {
      fewest = slowest;
      best = {rows, columns};
    }
  }
  return best;
}

}  // namespace pareto
