// Register tile of the dense AVX-512 products: up to 12 rows × 32 columns over steps of one dword
// of K, which leaves its sums in c or, finished, in y.
//
// As tile_avx512.h, but a strip holds 16 dwords of each row side by side, [⌈K/16⌉][rows][16]: rows
// are copied, not transposed, and the broadcasts cost the same. Up to 4 rows one step depends on
// the one before (4 to 6 cycles), so that several steps have sums of their own. Every store of a
// tile of 64-byte registers costs Zen 4's multipliers 2.4 cycles: finishing in registers instead of
// through c is 57 cycles of the 2304 of a tile with K = 384 int8.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/tile_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "kernels/vector_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

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

/// Panels of fp32, sums as they are.
template <typename Columns>
struct DenseF32 {
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
  struct Finish {
    Finish(const Epilogue& e, std::int64_t column)
        : bias(e.bias == nullptr ? Columns::zero() : Columns::load_any(e.bias + column)) {}
    [[nodiscard]] Reg operator()(const Epilogue& /*e*/, std::int64_t /*row*/, Reg sum) const {
      return Columns::add(sum, bias);
    }
    Reg bias;
  };
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
struct DenseVnni {
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

/// The sums of one tile.
template <typename Dense, int kRows, int kVectors>
using DenseSums = typename Dense::Reg[kRows][kVectors];

/// Where the rows of a strip stand: every third one's pointer, so that few registers and no
/// arithmetic reach all of them.
template <int kRows>
struct RowPointers {
  explicit RowPointers(const TileBlock& block) : stride(block.a_row_bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kThirds; ++i) third[i] = block.a + 3 * i * stride;
  }
  [[nodiscard]] const std::byte* row(int i) const { return third[i / 3] + i % 3 * stride; }
  void advance(std::int64_t bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kThirds; ++i) third[i] += bytes;
  }
  static constexpr int kThirds = (kRows + 2) / 3;
  const std::byte* third[kThirds];
  std::int64_t stride;
};

/// One step of K.
template <typename Dense, int kRows, int kVectors>
[[gnu::always_inline]] inline void dense_step(const RowPointers<kRows>& a, const std::byte* w,
                                              DenseSums<Dense, kRows, kVectors>& sum) {
  typename Dense::Reg columns[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) columns[v] = Dense::load_w(w, v);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    const typename Dense::Reg x = Dense::broadcast(a.row(i));
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = Dense::multiply_add(sum[i][v], columns[v], x);
    }
  }
}

/// `kLines` of the two cache lines that a step reads are fetched into L2, `ahead` bytes from w.
template <int kLines>
[[gnu::always_inline]] inline void fetch_to_l2(const std::byte* w, std::int64_t ahead) {
  if constexpr (kLines > 0) _mm_prefetch(reinterpret_cast<const char*>(w) + ahead, _MM_HINT_T1);
  if constexpr (kLines > 1)
    _mm_prefetch(reinterpret_cast<const char*>(w) + ahead + 64, _MM_HINT_T1);
}

/// sum += strip · panel. `kChains` consecutive steps have sums of their own, added at the end.
template <typename Dense, int kRows, int kVectors, int kLines, int kChains>
[[gnu::always_inline]] inline void dense_steps(const TileBlock& block,
                                               DenseSums<Dense, kRows, kVectors>& sum) {
  RowPointers<kRows> a(block);
  const std::byte* w = block.w;
  DenseSums<Dense, kRows, kVectors> other[kChains];  // [0] is not used
#pragma GCC unroll 4
  for (int chain = 1; chain < kChains; ++chain) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) other[chain][i][v] = Dense::zero();
    }
  }
  std::int64_t steps = block.steps;
  for (; steps >= kChunkDwords; steps -= kChunkDwords) {
    for (int k = 0; k < kChunkDwords; k += kChains) {
#pragma GCC unroll 4
      for (int chain = 0; chain < kChains; ++chain) {
        fetch_to_l2<kLines>(w, block.ahead_bytes);
        dense_step<Dense, kRows, kVectors>(a, w, chain == 0 ? sum : other[chain]);
        a.advance(4);
        w += Dense::kStepBytes;
      }
    }
    a.advance(block.a_chunk_bytes - kChunkBytes);
  }
  for (; steps > 0; --steps, a.advance(4), w += Dense::kStepBytes) {
    dense_step<Dense, kRows, kVectors>(a, w, sum);
  }
#pragma GCC unroll 4
  for (int chain = 1; chain < kChains; ++chain) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        sum[i][v] = Dense::Vector::add(sum[i][v], other[chain][i][v]);
      }
    }
  }
}

/// Rows of y from complete sums: of a whole panel, or of the columns that exist.
template <typename Dense, int kRows, int kVectors, bool kRelu>
[[gnu::always_inline]] inline void dense_finish(const Epilogue& e, const TileRect& rect,
                                                const DenseSums<Dense, kRows, kVectors>& sum) {
  using Vector = typename Dense::Vector;
  constexpr int kLast = kVectors - 1;
  constexpr bool kWholePanel = kVectors * Vector::kLanes == kTileColumns;
  const typename Dense::Finish finish[2] = {{e, rect.column},
                                            {e, rect.column + kLast * Vector::kLanes}};
  const __mmask16 lanes = first_lanes(rect.columns);
  const std::int64_t N = e.y.shape[1];
  float* y = e.y.template as<float>() + rect.row * N + rect.column;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i, y += N) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      typename Vector::Float value = finish[v](e, rect.row + i, sum[i][v]);
      if constexpr (kRelu) value = Vector::relu(value);
      if constexpr (kWholePanel) {
        Vector::store_any(y + v * Vector::kLanes, value);
      } else {
        Vector::store_some(y, lanes, value);
      }
    }
  }
}

template <typename Dense, int kRows, int kVectors, int kLines>
void dense_tile_avx512(const TileBlock& block) {
  constexpr int kChains = kRows <= 2 ? 4 : kRows <= 4 ? 2 : 1;
  constexpr int kBytes = sizeof(typename Dense::Reg);
  auto* c = static_cast<std::byte*>(block.c);
  DenseSums<Dense, kRows, kVectors> sum;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = block.accumulate ? Dense::load(c + i * 128 + v * kBytes) : Dense::zero();
    }
  }
  dense_steps<Dense, kRows, kVectors, kLines, kChains>(block, sum);
  if (block.epilogue != nullptr) {
    if (block.epilogue->activation == Activation::kRelu) {
      dense_finish<Dense, kRows, kVectors, true>(*block.epilogue, block.rect, sum);
    } else {
      dense_finish<Dense, kRows, kVectors, false>(*block.epilogue, block.rect, sum);
    }
    return;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      Dense::Vector::store(c + i * 128 + v * kBytes, sum[i][v]);
    }
  }
}

template <typename Dense, int kVectors, int kLines, int... kRowsLessOne>
const FusedTileFunction* dense_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr FusedTileFunction kTiles[] = {
      nullptr, &dense_tile_avx512<Dense, kRowsLessOne + 1, kVectors, kLines>...};
  return kTiles;
}

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
