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

/// Panels of fp32, sums as they are.
struct DenseF32 : DwordF32 {
  static constexpr int kStepBytes = 128;
  static Reg load_w(const std::byte* w, int half) { return load(w + half * 64); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  struct Finish {
    Finish(const Epilogue& e, std::int64_t column)
        : bias(e.bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(e.bias + column)) {}
    [[nodiscard]] __m512 operator()(const Epilogue& /*e*/, std::int64_t /*row*/, Reg sum) const {
      return _mm512_add_ps(sum, bias);
    }
    __m512 bias;
  };
};

/// Panels of fp16, widened on loading.
struct DenseF16 : DenseF32 {
  static constexpr int kStepBytes = 64;
  static Reg load_w(const std::byte* w, int half) {
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(w) + half));
  }
};

/// Panels of bf16, widened on loading.
struct DenseBf16Wide : DenseF32 {
  static constexpr int kStepBytes = 64;
  static Reg load_w(const std::byte* w, int half) {
    return from_bf16_avx512(_mm256_load_si256(reinterpret_cast<const __m256i*>(w) + half));
  }
};

/// Panels of pairs of bf16.
struct DenseBf16 : DenseF32 {
  static Reg multiply_add(Reg c, Reg w, Reg a) { return DwordBf16::multiply_add(c, w, a); }
};

/// Panels of four codes + 128 per dword; scales and what the sums begin with join at the end.
struct DenseVnni : DwordVnni {
  static constexpr int kStepBytes = 128;
  static Reg load_w(const std::byte* w, int half) { return load(w + half * 64); }
  static Reg add(Reg a, Reg b) { return _mm512_add_epi32(a, b); }
  struct Finish {
    Finish(const Epilogue& e, std::int64_t column)
        : bias(e.bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(e.bias + column)),
          scale(_mm512_loadu_ps(e.column_scale + column)) {}
    [[nodiscard]] __m512 operator()(const Epilogue& e, std::int64_t row, Reg sum) const {
      const __m512i exact = _mm512_add_epi32(sum, _mm512_set1_epi32(e.row_start[row]));
      return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(exact), scale),
                             _mm512_set1_ps(e.row_scale[row]), bias);
    }
    __m512 bias;
    __m512 scale;
  };
};

/// The sums of one tile; one half of 16 columns where N leaves the last panel no more.
template <typename Dense, int kRows, int kHalves>
using DenseSums = typename Dense::Reg[kRows][kHalves];

/// One step of K.
template <typename Dense, int kRows, int kHalves>
[[gnu::always_inline]] inline void dense_step(const std::byte* a, const std::byte* w,
                                              DenseSums<Dense, kRows, kHalves>& sum) {
  typename Dense::Reg columns[kHalves];
#pragma GCC unroll 2
  for (int half = 0; half < kHalves; ++half) columns[half] = Dense::load_w(w, half);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    const typename Dense::Reg x = Dense::broadcast(a + i * kChunkStride);
#pragma GCC unroll 2
    for (int half = 0; half < kHalves; ++half) {
      sum[i][half] = Dense::multiply_add(sum[i][half], columns[half], x);
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
template <typename Dense, int kRows, int kHalves, int kLines, int kChains>
[[gnu::always_inline]] inline void dense_steps(const TileBlock& block,
                                               DenseSums<Dense, kRows, kHalves>& sum) {
  const std::byte* a = block.a;
  const std::byte* w = block.w;
  DenseSums<Dense, kRows, kHalves> other[kChains];  // [0] is not used
#pragma GCC unroll 4
  for (int chain = 1; chain < kChains; ++chain) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) other[chain][i][half] = Dense::zero();
    }
  }
  std::int64_t steps = block.steps;
  for (; steps >= kChunkDwords; steps -= kChunkDwords) {
    for (int k = 0; k < kChunkDwords; k += kChains) {
#pragma GCC unroll 4
      for (int chain = 0; chain < kChains; ++chain) {
        fetch_to_l2<kLines>(w, block.ahead_bytes);
        dense_step<Dense, kRows, kHalves>(a, w, chain == 0 ? sum : other[chain]);
        a += 4;
        w += Dense::kStepBytes;
      }
    }
    a += kRows * kChunkStride - kChunkBytes;
  }
  for (; steps > 0; --steps, a += 4, w += Dense::kStepBytes) {
    dense_step<Dense, kRows, kHalves>(a, w, sum);
  }
#pragma GCC unroll 4
  for (int chain = 1; chain < kChains; ++chain) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) {
        sum[i][half] = Dense::add(sum[i][half], other[chain][i][half]);
      }
    }
  }
}

/// Rows of y from complete sums.
template <typename Dense, int kRows>
[[gnu::always_inline]] inline void dense_finish(const Epilogue& e, const TileRect& rect,
                                                const DenseSums<Dense, kRows, 2>& sum) {
  const typename Dense::Finish left(e, rect.column);
  const typename Dense::Finish right(e, rect.column + 16);
  const std::int64_t N = e.y.shape[1];
  float* y = e.y.template as<float>() + rect.row * N + rect.column;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i, y += N) {
    _mm512_storeu_ps(y, left(e, rect.row + i, sum[i][0]));
    _mm512_storeu_ps(y + 16, right(e, rect.row + i, sum[i][1]));
  }
}

/// A tile of one half leaves its sums in c.
template <typename Dense, int kRows, int kHalves, int kLines>
void dense_tile_avx512(const TileBlock& block) {
  constexpr int kChains = kRows <= 2 ? 4 : kRows <= 4 ? 2 : 1;
  auto* c = static_cast<std::byte*>(block.c);
  DenseSums<Dense, kRows, kHalves> sum;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int half = 0; half < kHalves; ++half) {
      sum[i][half] = block.accumulate ? Dense::load(c + i * 128 + half * 64) : Dense::zero();
    }
  }
  dense_steps<Dense, kRows, kHalves, kLines, kChains>(block, sum);
  if constexpr (kHalves == 2) {
    if (block.epilogue != nullptr) {
      dense_finish<Dense, kRows>(*block.epilogue, block.rect, sum);
      return;
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int half = 0; half < kHalves; ++half) {
      Dense::store(c + i * 128 + half * 64, sum[i][half]);
    }
  }
}

template <typename Dense, int kHalves, int kLines, int... kRowsLessOne>
const FusedTileFunction* dense_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr FusedTileFunction kTiles[] = {
      nullptr, &dense_tile_avx512<Dense, kRowsLessOne + 1, kHalves, kLines>...};
  return kTiles;
}

/// The tile set of one kind of panel. `store` finishes what the tiles do not.
template <typename Dense>
TileSet dense_tile_set(StoreFunction store) {
  constexpr auto kRows = std::make_integer_sequence<int, kTileRows>{};
  TileSet set;
  set.max_rows = kTileRows;
  set.columns = kTileColumns;
  set.a_step_bytes = kChunkStride;
  set.w_step_bytes = Dense::kStepBytes;
  set.strip_steps = kChunkDwords;
  set.fused = {dense_tiles<Dense, 2, 0>(kRows), dense_tiles<Dense, 2, 1>(kRows),
               dense_tiles<Dense, 2, 2>(kRows)};
  set.narrow = dense_tiles<Dense, 1, 0>(kRows);
  // 1024 steps: one block of K for 4096 int8 (0.993 of the ceiling with W in L2; 512: 0.990).
  set.panel_block_bytes = 1024 * std::int64_t{Dense::kStepBytes};
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
