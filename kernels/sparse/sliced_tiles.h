// The product over sliced_rows.h, written once for all instruction sets: lanes are tokens, a
// nonzero is broadcast and multiplied with a row of the panel of x. V is SparseAvx512 or
// SparseAvx2; this header is included inside V's `#pragma GCC target` region.
//
// Bottleneck: one 64-byte load of x per FMA, so at most as many FMA as loads per cycle; groups of
// rows give the independent chains that hide the FMA's latency.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/sparse/panel_tiles.h"
#include "kernels/sparse/sliced.h"
#include "kernels/sparse/sliced_transposes.h"

namespace pareto {

/// c[row][tokens] += W·x over one block of columns; x is the panel's block, rows of c as in
/// `groups`.
template <typename V, int kVectors, int kGroup>
void sliced_block(std::span<const SlicedGroup> groups, const SlicedEntry* entries, const float* x,
                  float* c) {
  constexpr int kTokens = kVectors * V::kLanes;
  const auto* const panel = reinterpret_cast<const std::byte*>(x);
  for (const SlicedGroup& group : groups) {
    typename V::Reg sum[kGroup][kVectors];
#pragma GCC unroll 4
    for (int r = 0; r < kGroup; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = V::load(c + std::int64_t{group.row[r]} * kTokens + v * V::kLanes);
      }
    }
    const SlicedEntry* entry = entries + group.start;
#pragma GCC unroll 2
    for (std::int32_t j = 0; j < group.count; ++j, entry += kGroup) {
      // Few tokens: the weights come from memory about as fast as they are multiplied.
      if constexpr (kVectors <= 2) {
        __builtin_prefetch(reinterpret_cast<const std::byte*>(entry) + kAheadBytes);
      }
#pragma GCC unroll 4
      for (int r = 0; r < kGroup; ++r) {
        const auto w = V::set1(entry[r].value);
        const auto* row = reinterpret_cast<const float*>(panel + entry[r].offset);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          sum[r][v] = V::fma(w, V::load(row + v * V::kLanes), sum[r][v]);
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kGroup; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        V::store(c + std::int64_t{group.row[r]} * kTokens + v * V::kLanes, sum[r][v]);
      }
    }
  }
}

template <typename V, int kVectors, int kGroup>
void multiply_if(const SlicedShape& shape, std::span<const SlicedGroup> groups,
                 const SlicedEntry* entries, const float* x, float* c) {
  if (shape.tokens == kVectors * V::kLanes && shape.group == kGroup) {
    sliced_block<V, kVectors, kGroup>(groups, entries, x, c);
  }
}

/// The shapes that sliced_shape may choose.
template <typename V>
void multiply_sliced(const SlicedShape& shape, std::span<const SlicedGroup> groups,
                     const SlicedEntry* entries, const float* x, float* c) {
  multiply_if<V, 1, 4>(shape, groups, entries, x, c);
  multiply_if<V, 2, 4>(shape, groups, entries, x, c);
  if constexpr (V::kMaxAccumulators >= 24) {
    multiply_if<V, 4, 4>(shape, groups, entries, x, c);
    multiply_if<V, 8, 2>(shape, groups, entries, x, c);
  } else {
    multiply_if<V, 4, 2>(shape, groups, entries, x, c);
  }
}

/// Wide panels load each weight less often, but waste what M does not fill; long rows of a block
/// pay for the loads and stores of its sums.
template <typename V>
SlicedShape sliced_shape(std::int64_t M, double density) {
  constexpr bool kWide = V::kMaxAccumulators >= 24;
  constexpr std::int64_t kPanelFloats = 8192;  // 32 KiB, within L1
  constexpr std::int64_t kSparseColumns = 256;
  SlicedShape best;
  double best_score = -1;
  for (const int vectors : {1, 2, 4, 8}) {
    if (vectors == 8 && !kWide) break;
    const int tokens = vectors * V::kLanes;
    const std::int64_t padded = (M + tokens - 1) / tokens * tokens;
    const double used = static_cast<double>(M) / static_cast<double>(padded);
    // FMA per load of the weight and of x.
    const double score = used * vectors / (vectors + 1);
    if (score <= best_score) continue;
    best_score = score;
    best = {tokens, vectors == (kWide ? 8 : 4) ? 2 : 4, kPanelFloats / tokens};
  }
  constexpr double kFewPerBlock = 0.15;
  if (density < kFewPerBlock && best.tokens > 4 * V::kLanes) {
    best = {4 * V::kLanes, 4, kPanelFloats / (4 * V::kLanes)};
  }
  constexpr double kVeryFewPerBlock = 0.07;
  if (density < kVeryFewPerBlock) best.block = std::max(best.block, kSparseColumns);
  return best;
}

template <typename V>
SlicedIsa sliced_isa() {
  return {&sliced_shape<V>, &pack_tokens<V>, &multiply_sliced<V>, &finish_transposed<V>};
}

}  // namespace pareto
