// The product of skip_x.h, written once for all instruction sets. V is SparseAvx512 or SparseAvx2;
// this header is included inside V's `#pragma GCC target` region.
#pragma once

#include <cstdint>

#include "kernels/sparse/panel_tiles.h"
#include "kernels/sparse/skip_x.h"

namespace pareto {

/// Eight vectors hide the latency of the FMA and make runs of whole cache lines.
inline constexpr int kSkipVectors = 8;

template <typename V, DType kT>
void accumulate_as(const std::byte* w, const SkipEntry* entries, std::int64_t count, float* c) {
  constexpr std::int64_t kVectorBytes = V::kLanes * (kT == DType::kF32 ? 4 : 2);
  typename V::Reg sum[kSkipVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kSkipVectors; ++v) sum[v] = V::load(c + v * V::kLanes);
  for (std::int64_t j = 0; j < count; ++j) {
    const auto x = V::set1(entries[j].value);
    const std::byte* row = w + entries[j].offset;
#pragma GCC unroll 8
    for (int v = 0; v < kSkipVectors; ++v) {
      sum[v] = V::fma(x, V::template widen<kT>(row + v * kVectorBytes), sum[v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kSkipVectors; ++v) V::store(c + v * V::kLanes, sum[v]);
}

template <typename V>
void accumulate(const std::byte* w, DType dtype, const SkipEntry* entries, std::int64_t count,
                float* c) {
  switch (dtype) {
    case DType::kF32:
      return accumulate_as<V, DType::kF32>(w, entries, count, c);
    case DType::kBf16:
      return accumulate_as<V, DType::kBf16>(w, entries, count, c);
    default:
      return accumulate_as<V, DType::kF16>(w, entries, count, c);
  }
}

template <typename V>
SkipIsa skip_isa() {
  return {kSkipVectors * V::kLanes, &accumulate<V>, &finish_sums<V>};
}

}  // namespace pareto
