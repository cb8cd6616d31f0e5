// The register tile of dense_tile.h with AVX-512: up to 12 rows × 32 columns.
//
// Every store of a tile of 64-byte registers costs Zen 4's multipliers 2.4 cycles: finishing in
// registers instead of through c is 57 cycles of the 2304 of a tile with K = 384 int8.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/tile_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "kernels/vector_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

#include "kernels/qgemm/dense_tile.h"

namespace pareto {

/// Vectors of 16 columns: two are a whole panel.
struct WideColumns {
  static constexpr int kLanes = 16;
  using Float = __m512;
  using Int = __m512i;
  static Float zero() { return _mm512_setzero_ps(); }
  static Int zero_int() { return _mm512_setzero_si512(); }
  static Float load(const void* p) { return _mm512_load_ps(p); }
  static Int load_int(const void* p) { return _mm512_load_si512(p); }
  static Float load_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_load_si256(static_cast<const __m256i*>(p)));
  }
  static Float load_bf16(const void* p) {
    return from_bf16_avx512(_mm256_load_si256(static_cast<const __m256i*>(p)));
  }
  static Float load_any(const float* p) { return _mm512_loadu_ps(p); }
  static void store(void* p, Float r) { _mm512_store_ps(p, r); }
  static void store(void* p, Int r) { _mm512_store_si512(p, r); }
  static void store_any(float* p, Float r) { _mm512_storeu_ps(p, r); }
  static __mmask16 first_lanes(int count) { return pareto::first_lanes(count); }
  static void store_some(float* p, __mmask16 lanes, Float r) { _mm512_mask_storeu_ps(p, lanes, r); }
  static Float broadcast(float x) { return _mm512_set1_ps(x); }
  static Int broadcast(std::int32_t x) { return _mm512_set1_epi32(x); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float convert(Int a) { return _mm512_cvtepi32_ps(a); }
  /// NaN stays NaN.
  static Float relu(Float a) { return _mm512_max_ps(_mm512_setzero_ps(), a); }
};

/// Vectors of 8 columns, for the left quarter of a panel.
struct NarrowColumns {
  static constexpr int kLanes = 8;
  using Float = __m256;
  using Int = __m256i;
  static Float zero() { return _mm256_setzero_ps(); }
  static Int zero_int() { return _mm256_setzero_si256(); }
  static Float load(const void* p) { return _mm256_load_ps(static_cast<const float*>(p)); }
  static Int load_int(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
  static Float load_f16(const void* p) {
    return _mm256_cvtph_ps(_mm_load_si128(static_cast<const __m128i*>(p)));
  }
  static Float load_bf16(const void* p) {
    const __m128i halves = _mm_load_si128(static_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  static Float load_any(const float* p) { return _mm256_loadu_ps(p); }
  static void store(void* p, Float r) { _mm256_store_ps(static_cast<float*>(p), r); }
  static void store(void* p, Int r) { _mm256_store_si256(static_cast<__m256i*>(p), r); }
  static void store_any(float* p, Float r) { _mm256_storeu_ps(p, r); }
  static __mmask16 first_lanes(int count) { return pareto::first_lanes(count); }
  static void store_some(float* p, __mmask16 lanes, Float r) {
    _mm256_mask_storeu_ps(p, static_cast<__mmask8>(lanes), r);
  }
  static Float broadcast(float x) { return _mm256_set1_ps(x); }
  static Int broadcast(std::int32_t x) { return _mm256_set1_epi32(x); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float convert(Int a) { return _mm256_cvtepi32_ps(a); }
  static Float relu(Float a) { return _mm256_max_ps(_mm256_setzero_ps(), a); }
};

/// What all kinds of panels have in common.
struct DenseTraits {
  static constexpr int kColumns = kTileColumns;
  static constexpr int chains(int rows) { return rows <= 2 ? 4 : rows <= 4 ? 2 : 1; }
  static constexpr bool kChainsApart = false;
};

/// Panels of fp32, sums as they are.
template <typename Columns>
struct DenseF32 : DenseTraits {
  using Vector = Columns;
  using Reg = typename Columns::Float;
  static constexpr int kStepBytes = 128;
  static Reg zero() { return Columns::zero(); }
  static Reg load(const std::byte* c) { return Columns::load(c); }
  static Reg load_w(const std::byte* w, int vector) {
    return Columns::load(w + vector * Columns::kLanes * 4);
  }
  static Reg broadcast(const std::byte* a) { return broadcast_dword<Reg>(a); }
  static Reg multiply_add(Reg c, Reg w, Reg a) { return Columns::multiply_add(a, w, c); }
  using Finish = AddBias<Columns>;
};

/// Panels of fp16, widened on loading.
template <typename Columns>
struct DenseF16 : DenseF32<Columns> {
  static constexpr int kStepBytes = 64;
  static typename Columns::Float load_w(const std::byte* w, int vector) {
    return Columns::load_f16(w + vector * Columns::kLanes * 2);
  }
};

/// Panels of bf16, widened on loading.
template <typename Columns>
struct DenseBf16Wide : DenseF32<Columns> {
  static constexpr int kStepBytes = 64;
  static typename Columns::Float load_w(const std::byte* w, int vector) {
    return Columns::load_bf16(w + vector * Columns::kLanes * 2);
  }
};

/// Panels of pairs of bf16.
template <typename Columns>
struct DenseBf16 : DenseF32<Columns> {
  using Reg = typename Columns::Float;
  static Reg multiply_add(Reg c, Reg w, Reg a) { return dot_bf16(c, w, a); }
};

/// Panels of four codes + 128 per dword; scales and what the sums begin with join at the end.
template <typename Columns>
struct DenseVnni : DenseTraits {
  using Vector = Columns;
  using Reg = typename Columns::Int;
  static constexpr int kStepBytes = 128;
  static Reg zero() { return Columns::zero_int(); }
  static Reg load(const std::byte* c) { return Columns::load_int(c); }
  static Reg load_w(const std::byte* w, int vector) {
    return Columns::load_int(w + vector * Columns::kLanes * 4);
  }
  static Reg broadcast(const std::byte* a) { return broadcast_dword<Reg>(a); }
  static Reg multiply_add(Reg c, Reg w, Reg a) { return dot_u8_s8(c, w, a); }
  struct Finish {
    Finish(const Epilogue& e, std::int64_t column)
        : bias(e.bias == nullptr ? Columns::zero() : Columns::load_any(e.bias + column)),
          scale(Columns::load_any(e.column_scale + column)) {}
    [[nodiscard]] typename Columns::Float operator()(const Epilogue& e, std::int64_t row,
                                                     Reg sum) const {
      const Reg exact = Columns::add(sum, Columns::broadcast(e.row_start[row]));
      return Columns::multiply_add(Columns::multiply(Columns::convert(exact), scale),
                                   Columns::broadcast(e.row_scale[row]), bias);
    }
    typename Columns::Float bias;
    typename Columns::Float scale;
  };
};

/// The tile set of one kind of panel. `store` finishes what the tiles do not.
template <template <typename Columns> typename Dense>
TileSet dense_tile_set(StoreFunction store) {
  using Whole = Dense<WideColumns>;
  using Narrow = Dense<NarrowColumns>;
  constexpr auto kRows = std::make_integer_sequence<int, kTileRows>{};
  TileSet set;
  set.max_rows = kTileRows;
  set.columns = kTileColumns;
  set.a_step_bytes = kChunkStride;
  set.w_step_bytes = Whole::kStepBytes;
  set.strip_steps = kChunkDwords;
  set.row_step_bytes = 4;
  set.fused = {dense_tiles<Whole, 2, 0>(kRows), dense_tiles<Whole, 2, 1>(kRows),
               dense_tiles<Whole, 2, 2>(kRows)};
  set.narrow = {dense_tiles<Narrow, 1, 0>(kRows), dense_tiles<Whole, 1, 0>(kRows)};
  // 1024 steps: one block of K for 4096 int8 (0.993 of the ceiling with W in L2; 512: 0.990).
  set.panel_block_bytes = 1024 * std::int64_t{Whole::kStepBytes};
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
