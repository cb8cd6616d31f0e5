// Prefetching a panel of compressed W that is read once, in order.
#pragma once

#include <immintrin.h>
#include <unistd.h>

#include <cstddef>

namespace pareto {

/// How far ahead of its use compressed W is fetched: an eighth of L1, 4 KiB of 32 (8 KiB lost 5 %
/// at M = 1 on Zen 4), 6 KiB of 48.
inline const std::ptrdiff_t kCodesAheadBytes = [] {
  const long bytes = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  return bytes >= 32 << 10 ? bytes / 8 : 4 << 10;
}();

/// Fetches the `kBytes` that follow `w`, as many lines later as lie in the distance.
template <int kBytes>
[[gnu::always_inline]] inline void fetch_ahead(const std::byte* w) {
#pragma GCC unroll 10
  for (int line = 0; line < kBytes; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(w) + kCodesAheadBytes + line, _MM_HINT_T0);
  }
}

}  // namespace pareto
