// Panels of W for the tile kernels: 32 columns of Wᵀ side by side, dwords of K in order. Portable;
// runs once, in `prepare`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

#include "harness/aligned_buffer.h"
#include "harness/thread_pool.h"

namespace pareto {

/// panels[⌈N/columns⌉][steps][columns][per_step] from w[N,K] (host, row-major), with `pad`
/// beyond K and N; `convert` maps an element of w to the stored one, `column_at` a place in a step
/// to its column. Panels are shared out over the threads.
template <typename Stored, typename Element, typename Convert, typename ColumnAt = std::identity>
void pack_panels(const Element* w, std::int64_t N, std::int64_t K, int columns, int per_step,
                 std::int64_t steps, Stored pad, Convert convert, Stored* panels, ThreadPool& pool,
                 ColumnAt column_at = {}) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of((N + columns - 1) / columns, thread, threads);
    Stored* out = panels + begin * steps * columns * per_step;
    for (std::int64_t n0 = begin * columns; n0 < end * columns; n0 += columns) {
      const auto used = static_cast<int>(std::min<std::int64_t>(columns, N - n0));
      for (std::int64_t step = 0; step < steps; ++step) {
        for (int place = 0; place < columns; ++place) {
          const int j = column_at(place);
          for (int i = 0; i < per_step; ++i) {
            const std::int64_t k = step * per_step + i;
            *out++ = j < used && k < K ? convert(w[(n0 + j) * K + k]) : pad;
          }
        }
      }
    }
  });
}

/// sums[n] = Σ_k w[n,k]; rows are shared out over the threads.
inline void sum_rows(const std::int8_t* w, std::int64_t N, std::int64_t K, std::int32_t* sums,
                     ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(N, thread, threads);
    for (std::int64_t n = begin; n < end; ++n) {
      std::int32_t sum = 0;
      for (std::int64_t k = 0; k < K; ++k) sum += w[n * K + k];
      sums[n] = sum;
    }
  });
}

/// `count` values and zeros up to a multiple of `columns`.
template <typename T>
AlignedBuffer<T> padded_copy(const T* values, std::int64_t count, int columns) {
  AlignedBuffer<T> buffer((count + columns - 1) / columns * columns);
  std::copy_n(values, count, buffer.data());
  return buffer;
}

}  // namespace pareto
