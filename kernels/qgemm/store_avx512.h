// Finishing a tile of accumulators with AVX-512: scales, bias, activation, rounding to y's type.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "kernels/qgemm/tile_gemm.h"
#include "kernels/vector_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

inline constexpr int kStoreColumns = 32;

/// y = f(scaled + bias) for 16 columns of one row.
inline void store_row_avx512(const Epilogue& e, std::int64_t row, std::int64_t column,
                             __mmask16 lanes, __m512 y) {
  y = activate_vector<Avx512F32>(e.activation, y);
  if (e.past_caches && lanes == __mmask16{0xffff}) {
    _mm512_stream_ps(e.y.as<float>() + row * e.y.shape[1] + column, y);
    return;
  }
  store_float_avx512(e.y.data, e.y.dtype, row * e.y.shape[1] + column, lanes, y);
}

/// c: fp32 sums.
inline void store_f32_avx512(const Epilogue& e, const TileRect& rect, const void* c) {
  for (int j = 0; j < rect.columns; j += 16) {
    const std::int64_t column = rect.column + j;
    const __mmask16 lanes = first_lanes(rect.columns - j);
    const __m512 bias = e.bias != nullptr ? _mm512_loadu_ps(e.bias + column) : _mm512_setzero_ps();
    for (int i = 0; i < rect.rows; ++i) {
      __m512 y = _mm512_load_ps(static_cast<const float*>(c) + i * kStoreColumns + j);
      if (e.column_scale != nullptr) {
        // Weights are seldom extreme: their scale first neither overflows nor underflows.
        y = _mm512_mul_ps(y, _mm512_loadu_ps(e.column_scale + column));
        y = _mm512_fmadd_ps(y, _mm512_set1_ps(e.row_scale[rect.row + i]), bias);
      } else if (e.bias != nullptr) {
        y = _mm512_add_ps(y, bias);
      }
      store_row_avx512(e, rect.row + i, column, lanes, y);
    }
  }
}

/// c: exact int32 sums, less what row_start and row_zero say; wraps in two's complement.
inline void store_s32_avx512(const Epilogue& e, const TileRect& rect, const void* c) {
  for (int j = 0; j < rect.columns; j += 16) {
    const std::int64_t column = rect.column + j;
    const __mmask16 lanes = first_lanes(rect.columns - j);
    const __m512 bias = e.bias != nullptr ? _mm512_loadu_ps(e.bias + column) : _mm512_setzero_ps();
    const __m512 w_scale = _mm512_loadu_ps(e.column_scale + column);
    for (int i = 0; i < rect.rows; ++i) {
      const std::int64_t row = rect.row + i;
      __m512i acc = _mm512_load_si512(static_cast<const std::int32_t*>(c) + i * kStoreColumns + j);
      if (e.row_start != nullptr) {
        acc = _mm512_add_epi32(acc, _mm512_set1_epi32(e.row_start[row]));
      }
      if (e.row_zero != nullptr) {
        acc = _mm512_sub_epi32(acc, _mm512_mullo_epi32(_mm512_set1_epi32(e.row_zero[row]),
                                                       _mm512_loadu_si512(e.column_sum + column)));
      }
      if (e.acc != nullptr) {
        _mm512_mask_storeu_epi32(e.acc + row * e.y.shape[1] + column, lanes, acc);
      }
      const __m512 y = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), w_scale);
      store_row_avx512(e, row, column, lanes,
                       _mm512_fmadd_ps(y, _mm512_set1_ps(e.row_scale[row]), bias));
    }
  }
}

}  // namespace pareto

#pragma GCC pop_options
