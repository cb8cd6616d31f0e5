// Prefetching a panel of compressed W that is read in order.
#pragma once

#include <immintrin.h>
#include <unistd.h>

#include <cstddef>

namespace pareto {

/// Where W is used as fast as memory brings it (one row of int8 or bytes): into L1, an eighth of it
/// ahead, 4 KiB of 32 (8 KiB lost 5 % on Zen 4), 6 KiB of 48.
inline const std::ptrdiff_t kNearBytes = [] {
  const long bytes = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  return bytes >= 32 << 10 ? bytes / 8 : 4 << 10;
}();
/// Where it is not: into L2, so that misses do not queue for the few buffers of L1 (w4a8_g128 from
/// DRAM, M = 16: 75 % of the VNNI ceiling become 87, M = 4: 61 become 83).
inline constexpr std::ptrdiff_t kFarBytes = 16 << 10;

enum class Ahead { kNear, kFar };

/// Fetches the `kBytes` that follow `w`, as many lines later as lie in the distance.
template <int kBytes, Ahead kAhead>
[[gnu::always_inline]] inline void fetch_ahead(const std::byte* w) {
#pragma GCC unroll 10
  for (int line = 0; line < kBytes; line += 64) {
    const char* bytes = reinterpret_cast<const char*>(w) + line;
    if constexpr (kAhead == Ahead::kNear) {
      _mm_prefetch(bytes + kNearBytes, _MM_HINT_T0);
    } else {
      _mm_prefetch(bytes + kFarBytes, _MM_HINT_T1);
    }
  }
}

}  // namespace pareto
