// How much of an operand a core can keep near.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace pareto {

/// Bytes of one core's L2; 1 MiB where the system does not say.
inline std::int64_t l2_bytes() {
  static const std::int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 1 << 20;
}

}  // namespace pareto
