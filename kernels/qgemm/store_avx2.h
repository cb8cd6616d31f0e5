// Finishing a tile of accumulators with AVX2: scales, bias, activation, rounding to y's type.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/qgemm/tile_gemm.h"
#include "kernels/vector_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

/// y = f(value), 8 columns of one row, of which `columns` exist.
inline void store_row_avx2(const Epilogue& e, std::int64_t row, std::int64_t column, int columns,
                           __m256 y) {
  y = activate_vector<Avx2F32>(e.activation, y);
  const auto bytes = static_cast<std::int64_t>(size_of(e.y.dtype));
  std::byte* out = e.y.data + (row * e.y.shape[1] + column) * bytes;
  if (columns >= Avx2F32::kLanes) {
    store_float_avx2(out, e.y.dtype, y);
    return;
  }
  std::byte edge[32];
  store_float_avx2(edge, e.y.dtype, y);
  std::memcpy(out, edge, static_cast<std::size_t>(columns * bytes));
}

/// c[rows][kColumns]: fp32 sums.
template <int kColumns = 32>
void store_f32_avx2(const Epilogue& e, const TileRect& rect, const void* c) {
  for (int j = 0; j < rect.columns; j += Avx2F32::kLanes) {
    const std::int64_t column = rect.column + j;
    const __m256 bias = e.bias != nullptr ? _mm256_loadu_ps(e.bias + column) : _mm256_setzero_ps();
    for (int i = 0; i < rect.rows; ++i) {
      __m256 y = _mm256_load_ps(static_cast<const float*>(c) + i * kColumns + j);
      if (e.column_scale != nullptr) {
        // Weights are seldom extreme: their scale first neither overflows nor underflows.
        y = _mm256_mul_ps(y, _mm256_loadu_ps(e.column_scale + column));
        y = _mm256_fmadd_ps(y, _mm256_set1_ps(e.row_scale[rect.row + i]), bias);
      } else if (e.bias != nullptr) {
        y = _mm256_add_ps(y, bias);
      }
      store_row_avx2(e, rect.row + i, column, rect.columns - j, y);
    }
  }
}

}  // namespace pareto

#pragma GCC pop_options
