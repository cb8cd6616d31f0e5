// The product over sell_slices.h, written once for all instruction sets: lanes are rows, x is
// gathered. V is SparseAvx512 or SparseAvx2; this header is included inside V's `#pragma GCC
// target` region.
#pragma once

#include <cstdint>

#include "kernels/sparse/panel_tiles.h"
#include "kernels/sparse/sell.h"

namespace pareto {

/// sum + entry i of every lane.
template <typename V, typename Index>
typename V::Reg add_entry(typename V::Reg sum, const float* value, const Index* index,
                          std::int64_t i, const float* x) {
  return V::fma(V::load(value + i * V::kLanes), V::gather(x, index + i * V::kLanes), sum);
}

/// Σ of one slice's entries for one token; the gathers are independent, so one sum is enough.
template <typename V, typename Index>
typename V::Reg sell_slice(const float* value, const Index* index, std::int64_t count,
                           const float* x) {
  // As many as fill a line of columns, so that each line is fetched once.
  constexpr int kEntries = 64 / (V::kLanes * sizeof(Index));
  constexpr int kEntryBytes = V::kLanes * sizeof(float);
  auto sum = V::zero();
  for (; count >= kEntries; count -= kEntries) {
    __builtin_prefetch(reinterpret_cast<const std::byte*>(index) + kAheadBytes / 2);
#pragma GCC unroll 4
    for (int i = 0; i < kEntries; ++i) {
      if (i * kEntryBytes % 64 == 0) {
        __builtin_prefetch(reinterpret_cast<const std::byte*>(value) + i * kEntryBytes +
                           kAheadBytes);
      }
      sum = add_entry<V>(sum, value, index, i, x);
    }
    value += kEntries * V::kLanes;
    index += kEntries * V::kLanes;
  }
  for (std::int64_t i = 0; i < count; ++i) sum = add_entry<V>(sum, value, index, i, x);
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
