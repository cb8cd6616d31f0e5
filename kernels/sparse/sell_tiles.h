// The product over sell_slices.h, written once for all instruction sets: lanes are rows, x is
// gathered. V is SparseAvx512 or SparseAvx2; this header is included inside V's `#pragma GCC
// target` region.
#pragma once

#include <cstdint>

#include "kernels/sparse/panel_tiles.h"
#include "kernels/sparse/sell.h"

namespace pareto {

/// Σ of one slice's entries for one token; the gathers are independent, so one sum is enough.
template <typename V, typename Index>
typename V::Reg sell_slice(const float* value, const Index* index, std::int64_t count,
                           const float* x) {
  auto sum = V::zero();
  for (; count > 0; --count, value += V::kLanes, index += V::kLanes) {
    __builtin_prefetch(reinterpret_cast<const std::byte*>(value) + kAheadBytes);
    __builtin_prefetch(reinterpret_cast<const std::byte*>(index) + kAheadBytes / 2);
    sum = V::fma(V::load(value), V::gather(x, index), sum);
  }
  return sum;
}

/// Lanes are added to their rows one by one: several may be segments of one row.
template <typename V>
void multiply_slice(const SellSlices& w, std::int64_t s, std::int64_t tokens, const float* x,
                    std::int64_t x_stride, float* c, std::int64_t stride) {
  const SellSlice& slice = w.slice(s);
  const std::int32_t* row = w.row(s);
  for (std::int64_t m = 0; m < tokens; ++m, x += x_stride, c += stride) {
    const float* value = w.values() + slice.start;
    const auto sum = w.has_short_indices()
                         ? sell_slice<V>(value, w.index16() + slice.start, slice.count, x)
                         : sell_slice<V>(value, w.index32() + slice.start, slice.count, x);
    float lane[V::kLanes];
    V::store(lane, sum);
    for (int l = 0; l < V::kLanes; ++l) c[row[l]] += lane[l];
  }
}

template <typename V>
SellIsa sell_isa() {
  return {V::kLanes, &multiply_slice<V>, &finish_sums<V>};
}

}  // namespace pareto
