// The register tile of dense_tile.h with AVX2: up to 6 rows × 16 columns of fp32, 12 sums, 2
// vectors of W and a broadcast of x.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/tile_gemm.h"
#include "kernels/vector_avx2.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

#include "kernels/qgemm/dense_tile.h"

namespace pareto {

inline constexpr int kAvx2DenseRows = 6;
inline constexpr int kAvx2DenseColumns = 16;

/// Vectors of 8 columns: two are a whole panel.
struct Avx2Columns {
  static constexpr int kLanes = 8;
  using Float = __m256;
  static Float zero() { return _mm256_setzero_ps(); }
  static Float load(const void* p) { return _mm256_load_ps(static_cast<const float*>(p)); }
  static Float load_any(const float* p) { return _mm256_loadu_ps(p); }
  static void store(void* p, Float r) { _mm256_store_ps(static_cast<float*>(p), r); }
  static void store_any(float* p, Float r) { _mm256_storeu_ps(p, r); }
  static __m256i first_lanes(int count) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane);
  }
  static void store_some(float* p, __m256i lanes, Float r) { _mm256_maskstore_ps(p, lanes, r); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  /// NaN stays NaN.
  static Float relu(Float a) { return _mm256_max_ps(_mm256_setzero_ps(), a); }
};

/// Panels of fp32, bf16 (a step in the order of lane_halves.h) or fp16, the last two widened on
/// loading; sums as they are.
template <DType kDType>
struct Avx2Dense {
  using Vector = Avx2Columns;
  using Reg = __m256;
  static constexpr int kColumns = kAvx2DenseColumns;
  static constexpr int kVectorBytes = kDType == DType::kF32 ? 32 : 16;
  static constexpr int kStepBytes = 2 * kVectorBytes;
  static constexpr int chains(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
  /// A core of Zen 3 reads 16 GB/s of DRAM in one stream, 20 in two, 22 in four; fetching ahead by
  /// hand takes 10 to 30 % off any of them.
  static constexpr bool kChainsApart = true;
  static Reg zero() { return Vector::zero(); }
  static Reg load(const std::byte* c) { return Vector::load(c); }
  static Reg load_w(const std::byte* w, int vector) {
    if constexpr (kDType == DType::kBf16) {
      return vector == 0 ? lower_bf16_avx2(w) : upper_bf16_avx2(w);
    }
    return load_float_avx2(w + vector * kVectorBytes, kDType);
  }
  static Reg broadcast(const std::byte* a) { return _mm256_castsi256_ps(broadcast_dword_avx2(a)); }
  static Reg multiply_add(Reg c, Reg w, Reg a) { return _mm256_fmadd_ps(a, w, c); }
  using Finish = AddBias<Vector>;
};

/// The tile set of panels of one type. `store` finishes what the tiles do not.
template <DType kDType>
TileSet dense_tile_set_avx2(StoreFunction store) {
  using Dense = Avx2Dense<kDType>;
  constexpr auto kRows = std::make_integer_sequence<int, kAvx2DenseRows>{};
  TileSet set;
  set.max_rows = kAvx2DenseRows;
  set.columns = kAvx2DenseColumns;
  set.a_step_bytes = kChunkStride;
  set.w_step_bytes = Dense::kStepBytes;
  set.strip_steps = kChunkDwords;
  set.row_step_bytes = 4;
  // Few rows go without, as kChainsApart says.
  set.fused = {dense_tiles<Dense, 2, 0>(kRows), dense_tiles<Dense, 2, 0>(kRows),
               dense_tiles<Dense, 2, 1>(kRows)};
  set.narrow = {dense_tiles<Dense, 1, 0>(kRows), dense_tiles<Dense, 1, 0>(kRows)};
  // A strip's part of so many steps, 12 KiB, stays in L1 (with 1024 steps of 16-bit W, 512 x 1024 x
  // 4096 takes 5 % longer on Zen 3).
  set.panel_block_bytes = 512 * std::int64_t{Dense::kStepBytes};
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
