// f32_gemm.h with AVX-512: panels of 32 columns.
#pragma once

#include <cstdint>

#include "kernels/qgemm/dense_tile_avx512.h"
#include "kernels/qgemm/f32_gemm.h"
#include "kernels/qgemm/store_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

struct F32Avx512 {
  static constexpr int kColumns = kTileColumns;
  static constexpr bool kQuantizesX = false;  // other kernels have those schemes
  static int column_at(DType /*dtype*/, int place) { return place; }
  static TileSet tiles(DType dtype) {
    if (dtype == DType::kBf16) return dense_tile_set<DenseBf16Wide>(&store_f32_avx512);
    if (dtype == DType::kF16) return dense_tile_set<DenseF16>(&store_f32_avx512);
    return dense_tile_set<DenseF32>(&store_f32_avx512);
  }
  static void widen_row(const Tensor& x, std::int64_t row, std::int64_t K, int rows,
                        std::byte* out) {
    for (std::int64_t k = 0; k < K; k += kChunkDwords, out += rows * kChunkStride) {
      const __mmask16 lanes = first_lanes(K - k);
      _mm512_mask_storeu_ps(out, lanes, load_float_avx512(x.data, x.dtype, row * K + k, lanes));
    }
  }
};

}  // namespace pareto

#pragma GCC pop_options
