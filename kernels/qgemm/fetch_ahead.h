// Prefetching a panel of compressed W that is read in order.
#pragma once

#include <immintrin.h>
#include <unistd.h>

#include <cstddef>

namespace pareto {

inline long l1_bytes() {
  static const long bytes = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  return bytes;
}
/// Whether the group-wise int8 tile of a single row fetches W, which it uses faster than memory
/// brings it. With 32 KiB of L1 it does better left alone: the hardware's prefetchers follow its
/// one ascending stream (w4a8_g128 on Zen 4: 77 % of the read ceiling become 84). Tiles that decode
/// (coded_tile_avx512.h) lose without, up to 80 % more time for nibbles.
inline bool fetches_near() { return l1_bytes() >= 48 << 10; }
/// Into L1, an eighth of it ahead: 6 KiB of 48, 4 KiB of 32 (8 KiB lost 5 % on Zen 4).
inline const std::ptrdiff_t kNearBytes = fetches_near() ? l1_bytes() / 8 : 4 << 10;
/// Where W is used more slowly: into L2, so that misses do not queue for the few buffers of L1
/// (w4a8_g128 from DRAM, M = 16: 75 % of the VNNI ceiling become 87, M = 4: 61 become 83).
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
