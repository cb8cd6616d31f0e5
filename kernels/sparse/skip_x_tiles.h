// The product of skip_x.h, written once for all instruction sets. V is SparseAvx512 or SparseAvx2;
// this header is included inside V's `#pragma GCC target` region.
#pragma once

#include <cstdint>

#include "kernels/sparse/panel_tiles.h"
#include "kernels/sparse/skip_x.h"

namespace pareto {

/// c[rows] += Σ of kColumns columns; meanwhile the kColumns that stand behind them in the list come
/// into L2.
template <typename V, DType kT, int kColumns>
void add_columns(const std::byte* panel, std::int64_t rows, const SkipEntry* entries, float* c) {
  constexpr std::int64_t kSize = kT == DType::kF32 ? 4 : 2;
  constexpr int kVectors = kSkipStep / V::kLanes;
  const std::byte* column[kColumns];
  const std::byte* next[kColumns];
  for (int k = 0; k < kColumns; ++k) {
    column[k] = panel + std::int64_t{64} * entries[k].line;
    next[k] = panel + std::int64_t{64} * entries[kColumns + k].line;
  }
  for (std::int64_t i = 0; i < rows; i += kSkipStep) {
    typename V::Reg sum[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[v] = V::load(c + i + v * V::kLanes);
#pragma GCC unroll 8
    for (int k = 0; k < kColumns; ++k) {
#pragma GCC unroll 2
      for (int b = 0; b < kSkipStep * kSize; b += 64) {
        __builtin_prefetch(next[k] + i * kSize + b, 0, 2);
      }
      const auto x = V::set1(entries[k].value);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; v += 2) {
        typename V::Reg w[2];
        widen_vectors<V, kT, 2>(column[k] + (i + v * V::kLanes) * kSize, w);
        sum[v] = V::fma(x, w[0], sum[v]);
        sum[v + 1] = V::fma(x, w[1], sum[v + 1]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) V::store(c + i + v * V::kLanes, sum[v]);
  }
}

template <typename V, DType kT>
void accumulate_as(const std::byte* panel, std::int64_t rows, const SkipEntry* entries,
                   std::int64_t count, float* c) {
  for (; count >= kSkipColumns; count -= kSkipColumns, entries += kSkipColumns) {
    add_columns<V, kT, kSkipColumns>(panel, rows, entries, c);
  }
  for (; count >= 2; count -= 2, entries += 2) add_columns<V, kT, 2>(panel, rows, entries, c);
  if (count > 0) add_columns<V, kT, 1>(panel, rows, entries, c);
}

template <typename V>
void accumulate(const std::byte* panel, DType dtype, std::int64_t rows, const SkipEntry* entries,
                std::int64_t count, float* c) {
  switch (dtype) {
    case DType::kF32:
      return accumulate_as<V, DType::kF32>(panel, rows, entries, count, c);
    case DType::kBf16:
      return accumulate_as<V, DType::kBf16>(panel, rows, entries, count, c);
    default:
      return accumulate_as<V, DType::kF16>(panel, rows, entries, count, c);
  }
}

template <typename V>
SkipIsa skip_isa() {
  constexpr int kVectors = kSkipStep / V::kLanes;
  return {&place_of_value<V, DType::kBf16, kVectors>, &accumulate<V>, &finish_sums<V>};
}

}  // namespace pareto
