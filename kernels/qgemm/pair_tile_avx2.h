// Register tile of int8 products with AVX2 for many rows: up to 4 rows × 16 columns, by Winograd's
// inner product (IEEE Trans. Comput. C-17, 1968):
//
//   x0·w0 + x1·w1 = (x0 + w1)(x1 + w0) − x0·x1 − w0·w1
//
// Half the multiplications for as many additions. A vpmaddwd of the plain product comes with one
// vpaddd that must wait for it and then often takes one of the two pipes that multiply: on Zen 4
// that leaves 3.2 of 4 pipes busy, whatever the order of instructions (6 × 2 registers: 7.4 cycles
// instead of 6). Here three of four instructions run on any pipe and one multiplies: 3.75 (3.7 on
// Zen 3, where none of 100 random orders did better). What the formula takes off belongs to one row
// of x or one column of W and joins in the epilogue; sums of int32 wrap, so that nothing is lost on
// the way.
//
// A step is 4 values of K: strip [steps][rows][(x0,x2), (x1,x3)] s16, panel
// [steps][(w1,w3) × 16, (w0,w2) × 16], stored in s8 and widened block by block.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

inline constexpr int kPairRows = 4;
inline constexpr int kPairColumns = 16;
inline constexpr int kPairStepK = 4;
/// Bytes of a step: of one row, of a panel as stored and as multiplied.
inline constexpr int kPairRowBytes = 8;
inline constexpr int kPairStoredBytes = 64;
inline constexpr int kPairPanelBytes = 128;

/// The two dwords of one row in one step.
struct PairDwords {
  std::int32_t even;
  std::int32_t odd;
};

/// The panel's four vectors of one step and 16 columns.
struct PairColumns {
  explicit PairColumns(const std::byte* w)
      : odd{Avx2StepS16::load(w), Avx2StepS16::load(w + 32)},
        even{Avx2StepS16::load(w + 64), Avx2StepS16::load(w + 96)} {}
  __m256i odd[2];
  __m256i even[2];
};

/// sum += one step of one row. In assembly, for it takes exactly the 16 registers that there are,
/// and the compiler, free to sum in another order, spills.
[[gnu::always_inline]] inline void pair_row(const std::byte* a, const PairColumns& w,
                                            __m256i (&sum)[2]) {
  const auto& x = *reinterpret_cast<const PairDwords*>(a);
  __m256i even[2];
  __m256i odd[2];
  asm("vpbroadcastd %[x_even], %[even1]\n\t"
      "vpbroadcastd %[x_odd], %[odd1]\n\t"
      "vpaddw %[w_odd0], %[even1], %[even0]\n\t"
      "vpaddw %[w_odd1], %[even1], %[even1]\n\t"
      "vpaddw %[w_even0], %[odd1], %[odd0]\n\t"
      "vpaddw %[w_even1], %[odd1], %[odd1]\n\t"
      "vpmaddwd %[even0], %[odd0], %[odd0]\n\t"
      "vpmaddwd %[even1], %[odd1], %[odd1]\n\t"
      "vpaddd %[odd0], %[sum0], %[sum0]\n\t"
      "vpaddd %[odd1], %[sum1], %[sum1]"
      : [sum0] "+x"(sum[0]), [sum1] "+x"(sum[1]), [even0] "=&x"(even[0]), [even1] "=&x"(even[1]),
        [odd0] "=&x"(odd[0]), [odd1] "=&x"(odd[1])
      : [x_even] "m"(x.even), [x_odd] "m"(x.odd), [w_odd0] "x"(w.odd[0]), [w_odd1] "x"(w.odd[1]),
        [w_even0] "x"(w.even[0]), [w_even1] "x"(w.even[1]));
}

/// sum[i] += one step of row i · 16 columns.
template <int kRows>
[[gnu::always_inline]] inline void pair_step(const std::byte* a, const std::byte* w,
                                             __m256i (&sum)[kRows][2]) {
  const PairColumns columns(w);
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) pair_row(a + i * kPairRowBytes, columns, sum[i]);
}

/// c[kRows][16] (+)= strip · panel, but for the terms of rows and columns.
template <int kRows>
void pair_tile_avx2(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                    bool accumulate) {
  auto* tile = static_cast<std::byte*>(c);
  __m256i sum[kRows][2];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      sum[i][v] = accumulate ? Avx2StepS16::load(tile + i * 64 + v * 32) : Avx2StepS16::zero();
    }
  }
  for (; steps >= 2; steps -= 2) {
    pair_step<kRows>(a, w, sum);
    pair_step<kRows>(a + kRows * kPairRowBytes, w + kPairPanelBytes, sum);
    a += 2 * kRows * kPairRowBytes;
    w += 2 * kPairPanelBytes;
  }
  if (steps > 0) pair_step<kRows>(a, w, sum);
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) Avx2StepS16::store(tile + i * 64 + v * 32, sum[i][v]);
  }
}

/// Widens `steps` of one panel, and fetches the next as many into L2 while the tiles multiply.
inline void widen_pairs_avx2(const std::byte* packed, std::int64_t steps, const std::byte* next,
                             std::byte* w) {
  const auto* from = reinterpret_cast<const __m128i*>(packed);
  auto* to = reinterpret_cast<__m256i*>(w);
  constexpr int kVectors = kPairStoredBytes / 16;
  for (; steps > 0; --steps, from += kVectors, to += kVectors, next += kPairStoredBytes) {
    _mm_prefetch(next, _MM_HINT_T1);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      _mm256_store_si256(to + i, _mm256_cvtepi8_epi16(_mm_load_si128(from + i)));
    }
  }
}

/// Codes of one row, `count` of them a multiple of 16, from (x0, x1, x2, x3) to (x0, x2, x1, x3).
/// Returns −Σ x0·x1 + x2·x3, which wraps.
inline std::int32_t pair_codes_avx2(std::int16_t* codes, std::int64_t count) {
  const __m256i order = _mm256_broadcastsi128_si256(
      _mm_set_epi8(15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0));
  __m256i products = _mm256_setzero_si256();
  for (std::int64_t k = 0; k < count; k += 16) {
    auto* place = reinterpret_cast<__m256i*>(codes + k);
    const __m256i x = _mm256_loadu_si256(place);
    products = _mm256_sub_epi32(products, _mm256_madd_epi16(x, _mm256_srli_epi32(x, 16)));
    _mm256_storeu_si256(place, _mm256_shuffle_epi8(x, order));
  }
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(products), _mm256_extracti128_si256(products, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_srli_epi64(two, 32)));
}

template <int... kRowsLessOne>
const TileFunction* pair_tiles_avx2(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {nullptr, &pair_tile_avx2<kRowsLessOne + 1>...};
  return kTiles;
}

inline TileSet pair_tile_set_avx2(StoreFunction store) {
  TileSet set;
  set.max_rows = kPairRows;
  set.columns = kPairColumns;
  set.a_step_bytes = kPairRowBytes;
  set.w_step_bytes = kPairPanelBytes;
  set.tile = pair_tiles_avx2(std::make_integer_sequence<int, kPairRows>{});
  set.streaming = set.tile;
  set.store = store;
  set.unpack = &widen_pairs_avx2;
  set.packed_step_bytes = kPairStoredBytes;
  // 15 bytes of W per cycle come from L1 alone (M = 64, N = K = 1024 in blocks of L2: 16 % slower).
  set.panel_block_bytes = 16 << 10;
  set.small = true;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
