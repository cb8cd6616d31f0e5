// Finishing tiles of byte_tile_avx2.h: the products kept apart, zero points, scales, bias,
// activation, rounding to y's type.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

#include "kernels/qgemm/byte_tile_avx2.h"
#include "kernels/qgemm/pair_excess.h"
#include "kernels/qgemm/store_avx2.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

inline constexpr int kByteVectors = kByteColumns / 8;

/// sum[16] += the excess of one row · panel.
inline void add_excess_avx2(std::span<const PairExcess::Entry> entries, const std::byte* panel,
                            __m256i (&sum)[kByteVectors]) {
  for (const PairExcess::Entry& e : entries) {
    const __m256i x = broadcast_dword_avx2(reinterpret_cast<const std::byte*>(e.codes));
    const std::byte* w = panel + std::int64_t{e.step} * ByteStepAvx2::kStepBytes;
    for (int v = 0; v < kByteVectors; ++v) {
      sum[v] = ByteStepAvx2::multiply_add(sum[v], ByteStepAvx2::load(w + v * 32), x);
    }
  }
}

/// y of 8 columns, of which `columns` exist, from their sums, that lack row_zero times column_sum.
inline void store_sums_avx2(const Epilogue& e, std::int64_t row, std::int64_t column, int columns,
                            __m256i sum) {
  if (e.row_zero != nullptr) {
    const __m256i column_sum =
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(e.column_sum + column));
    sum = _mm256_sub_epi32(sum, _mm256_mullo_epi32(_mm256_set1_epi32(e.row_zero[row]), column_sum));
  }
  if (e.acc != nullptr) {
    std::memcpy(e.acc + row * e.y.shape[1] + column, &sum,
                static_cast<std::size_t>(columns) * sizeof(std::int32_t));
  }
  const __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(e.column_scale + column));
  const __m256 bias = e.bias != nullptr ? _mm256_loadu_ps(e.bias + column) : _mm256_setzero_ps();
  store_row_avx2(e, row, column, columns,
                 _mm256_fmadd_ps(y, _mm256_set1_ps(e.row_scale[row]), bias));
}

/// c[rows][16]: int32 sums without the excess, if there is any, row_start, and row_zero times
/// column_sum; wraps in two's complement.
inline void store_bytes_avx2(const Epilogue& e, const TileRect& rect, const void* c) {
  const auto* sums = static_cast<const __m256i*>(c);
  const std::byte* panel = e.panels + rect.column / kByteColumns * e.panel_bytes;
  const bool plain = e.is_plain() && rect.columns == kByteColumns;
  // NaN passes: max returns its second argument.
  const __m256 least = _mm256_set1_ps(
      e.activation == Activation::kRelu ? 0 : -std::numeric_limits<float>::infinity());
  __m256 scale[kByteVectors];
  __m256 bias[kByteVectors];
  for (int v = 0; v < kByteVectors; ++v) {
    const std::int64_t column = rect.column + v * 8;
    scale[v] = _mm256_loadu_ps(e.column_scale + column);
    bias[v] = e.bias != nullptr ? _mm256_loadu_ps(e.bias + column) : _mm256_setzero_ps();
  }
  for (int i = 0; i < rect.rows; ++i, sums += kByteVectors) {
    const std::int64_t row = rect.row + i;
    const __m256i start = _mm256_set1_epi32(e.row_start[row]);
    __m256i sum[kByteVectors];
    for (int v = 0; v < kByteVectors; ++v) sum[v] = _mm256_add_epi32(sums[v], start);
    if (e.excess != nullptr) add_excess_avx2(e.excess->row(row), panel, sum);
    if (!plain) {
      for (int v = 0; v * 8 < rect.columns; ++v) {
        store_sums_avx2(e, row, rect.column + v * 8, std::min(8, rect.columns - v * 8), sum[v]);
      }
      continue;
    }
    const __m256 row_scale = _mm256_set1_ps(e.row_scale[row]);
    float* y = e.y.as<float>() + row * e.y.shape[1] + rect.column;
    for (int v = 0; v < kByteVectors; ++v) {
      const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[v]), scale[v]);
      _mm256_storeu_ps(y + v * 8,
                       _mm256_max_ps(least, _mm256_fmadd_ps(scaled, row_scale, bias[v])));
    }
  }
}

}  // namespace pareto

#pragma GCC pop_options
