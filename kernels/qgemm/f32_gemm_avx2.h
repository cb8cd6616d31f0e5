// f32_gemm.h with AVX2: panels of 16 columns.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/qgemm/dense_tile_avx2.h"
#include "kernels/qgemm/f32_gemm.h"
#include "kernels/qgemm/rows_avx2.h"
#include "kernels/qgemm/store_avx2.h"

namespace pareto {

struct F32Avx2 {
  static constexpr int kColumns = kAvx2DenseColumns;
  static TileSet tiles(DType dtype) {
    const StoreFunction store = &store_f32_avx2<kColumns>;
    if (dtype == DType::kBf16) return dense_tile_set_avx2<DType::kBf16>(store);
    if (dtype == DType::kF16) return dense_tile_set_avx2<DType::kF16>(store);
    return dense_tile_set_avx2<DType::kF32>(store);
  }
  static void widen_row(const Tensor& x, std::int64_t row, std::int64_t K, int rows,
                        std::byte* out) {
    const auto bytes = static_cast<std::int64_t>(size_of(x.dtype));
    for (std::int64_t k = 0; k < K; k += kChunkDwords, out += rows * kChunkStride) {
      widen_avx2(x.data + (row * K + k) * bytes, x.dtype,
                 std::min<std::int64_t>(kChunkDwords, K - k), reinterpret_cast<float*>(out));
    }
  }
};

}  // namespace pareto
