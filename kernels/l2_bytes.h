// How much a core can keep near, and what it had better not.
#pragma once

#include <unistd.h>

#include <cstdint>

#include "harness/tensor.h"

namespace pareto {

/// Bytes of one core's L2; 1 MiB where the system does not say.
inline std::int64_t l2_bytes() {
  static const std::int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 1 << 20;
}

/// Would y [M, N], where its rows are whole lines of fp32, drive x out of L2? To read its lines
/// before they are written takes longer than to store them past the caches, which ends with a fence
/// (AMX, 2048^3: as long as half of the products).
inline bool goes_past_caches(const Tensor& y) {
  const std::int64_t row_bytes = y.shape[1] * std::int64_t{sizeof(float)};
  return y.dtype == DType::kF32 && row_bytes % 64 == 0 &&
         reinterpret_cast<std::uintptr_t>(y.data) % 64 == 0 && y.shape[0] * row_bytes > l2_bytes();
}

}  // namespace pareto
