// f32_gemm.h with AVX2: panels of 16 columns.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/lane_halves.h"
#include "kernels/qgemm/dense_tile_avx2.h"
#include "kernels/qgemm/f32_gemm.h"
#include "kernels/qgemm/rows_avx2.h"
#include "kernels/qgemm/store_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

struct F32Avx2 {
  static constexpr int kColumns = kAvx2DenseColumns;
  static constexpr bool kQuantizesX = true;
  static int column_at(DType dtype, int place) {
    return dtype == DType::kBf16 ? place_in_halves(place) : place;
  }
  static TileSet tiles(DType dtype) {
    const StoreFunction store = &store_f32_avx2<kColumns>;
    if (dtype == DType::kBf16) return dense_tile_set_avx2<DType::kBf16>(store);
    if (dtype == DType::kF16) return dense_tile_set_avx2<DType::kF16>(store);
    return dense_tile_set_avx2<DType::kF32>(store);
  }
  static void widen_row(const Tensor& x, std::int64_t row, std::int64_t K, int rows,
                        std::byte* out) {
    if (x.dtype == DType::kBf16) return widen_row_of<DType::kBf16>(x, row, K, rows, out);
    return widen_row_of<DType::kF16>(x, row, K, rows, out);
  }
  static void quantized_row(const QgemmProblem& p, const float* x, float* values) {
    quantized_row_avx2(p, x, 1, values);
  }

 private:
  // Whole vectors as long as x lasts: the tiles do not read what a chunk holds beyond K.
  template <DType kDType>
  static void widen_row_of(const Tensor& x, std::int64_t row, std::int64_t K, int rows,
                           std::byte* out) {
    const auto bytes = static_cast<std::int64_t>(size_of(kDType));
    const std::byte* from = x.data + row * K * bytes;
    std::int64_t left = (x.shape[0] - row) * K;
    for (std::int64_t k = 0; k < K; k += kChunkDwords, out += rows * kChunkStride) {
      auto* chunk = reinterpret_cast<float*>(out);
      if (left >= kChunkDwords) {
        _mm256_storeu_ps(chunk, load_float_avx2(from, kDType));
        _mm256_storeu_ps(chunk + 8, load_float_avx2(from + 8 * bytes, kDType));
      } else {
        widen_avx2(from, kDType, K - k, chunk);
      }
      from += kChunkDwords * bytes;
      left -= kChunkDwords;
    }
  }
};

}  // namespace pareto

#pragma GCC pop_options
