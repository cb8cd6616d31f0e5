// Register tile of bf16 x against 4-bit weights with vdpbf16ps: up to 6 rows × 32 columns, fp32
// sums of the running group and of all groups in registers.
//
// A dword of W holds 8 codes of one column: nibble i of its low half is element 2i of K, nibble i
// of its high half element 2i + 1. Shifted by 4i, both halves index a register of bf16 values (only
// the lowest 5 bits count; the table holds its 16 values twice), and the pair of bf16 is ready for
// the dot product: two instructions per 32 weights. The scale waits for the end of its group, so
// that codes stay exact. Strip: per group [kGroup/2][rows] dwords of x, and with zero points fp32
// Σx[rows]. Panel: per group [kGroup/8][32] dwords, scale[32] of 2 bytes, and with zero points fp16
// zero[32].
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

namespace pareto {

inline constexpr int kNibbleTileRows = 6;

/// What differs between the schemes. `kScale` is fp16, or bf16 for powers of two beyond fp16.
template <int kGroupSize, DType kScaleType, bool kHasZero>
struct NibbleFormat {
  static constexpr int kGroup = kGroupSize;
  static constexpr DType kScale = kScaleType;
  static constexpr bool kZero = kHasZero;
  static constexpr int kCodeBytes = kGroup * 16;
  static constexpr int kStepBytes = kCodeBytes + 64 + (kZero ? 64 : 0);
  static constexpr int kExtraDwords = kZero ? 1 : 0;
};

/// Independent sums per element: the dot product's latency shows where rows are few.
constexpr int nibble_chains(int rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }

template <int kRows>
struct NibbleSums {
  static constexpr int kChains = nibble_chains(kRows);
  __m512 group[kChains][kRows][2];
  __m512 total[kRows][2];
};

/// Adds one dword of codes, 8 elements of K, of all columns and rows.
template <int kRows>
[[gnu::always_inline]] inline void add_nibbles(NibbleSums<kRows>& s, __m512i table, __m512i w0,
                                               __m512i w1, const std::byte* a) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 left =
        _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_srli_epi32(w0, 4 * i), table));
    const __m512 right =
        _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_srli_epi32(w1, 4 * i), table));
    auto& sum = s.group[i % NibbleSums<kRows>::kChains];
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512 x = DwordF32::broadcast(a + (i * kRows + r) * 4);
      sum[r][0] = DwordBf16::multiply_add(sum[r][0], left, x);
      sum[r][1] = DwordBf16::multiply_add(sum[r][1], right, x);
    }
  }
}

/// total += scale · (group − zero · Σx)
template <typename Format, int kRows>
[[gnu::always_inline]] inline void scale_nibbles(NibbleSums<kRows>& s, const std::byte* a,
                                                 const std::byte* scales) {
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    const __m256i stored = _mm256_load_si256(reinterpret_cast<const __m256i*>(scales + half * 32));
    const __m512 scale =
        Format::kScale == DType::kBf16 ? from_bf16_avx512(stored) : _mm512_cvtph_ps(stored);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      __m512 group = s.group[0][r][half];
      for (int chain = 1; chain < NibbleSums<kRows>::kChains; ++chain) {
        group = _mm512_add_ps(group, s.group[chain][r][half]);
      }
      if constexpr (Format::kZero) {
        const __m512 zero = _mm512_cvtph_ps(
            _mm256_load_si256(reinterpret_cast<const __m256i*>(scales + 64 + half * 32)));
        group = _mm512_fnmadd_ps(zero, DwordF32::broadcast(a + r * 4), group);
      }
      s.total[r][half] = _mm512_fmadd_ps(group, scale, s.total[r][half]);
    }
  }
}

/// c[kRows][32] fp32 (+)= strip · panel over `steps` groups; `table` by `kTable`.
template <typename Format, const std::uint16_t* kTable, int kRows, bool kStream>
void nibble_tile_avx512(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                        bool accumulate) {
  auto* tile = static_cast<std::byte*>(c);
  const __m512i table =
      _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(kTable)));
  NibbleSums<kRows> s;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    s.total[r][0] = accumulate ? _mm512_load_ps(tile + r * 128) : _mm512_setzero_ps();
    s.total[r][1] = accumulate ? _mm512_load_ps(tile + r * 128 + 64) : _mm512_setzero_ps();
  }
  for (; steps > 0; --steps) {
#pragma GCC unroll 4
    for (int chain = 0; chain < NibbleSums<kRows>::kChains; ++chain) {
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        s.group[chain][r][0] = _mm512_setzero_ps();
        s.group[chain][r][1] = _mm512_setzero_ps();
      }
    }
    for (int k = 0; k < Format::kGroup; k += 8) {
      if constexpr (kStream) {
        _mm_prefetch(reinterpret_cast<const char*>(w) + kStreamAheadBytes, _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(w) + kStreamAheadBytes + 64, _MM_HINT_T0);
      }
      add_nibbles<kRows>(s, table, _mm512_load_si512(w), _mm512_load_si512(w + 64), a);
      a += 4 * kRows * 4;
      w += 128;
    }
    scale_nibbles<Format, kRows>(s, a, w);
    a += Format::kExtraDwords * kRows * 4;
    w += Format::kStepBytes - Format::kCodeBytes;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    _mm512_store_ps(tile + r * 128, s.total[r][0]);
    _mm512_store_ps(tile + r * 128 + 64, s.total[r][1]);
  }
}

template <typename Format, const std::uint16_t* kTable, bool kStream, int... kRowsLessOne>
const TileFunction* nibble_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {
      nullptr, &nibble_tile_avx512<Format, kTable, kRowsLessOne + 1, kStream>...};
  return kTiles;
}

template <typename Format, const std::uint16_t* kTable>
TileSet nibble_tile_set(StoreFunction store) {
  constexpr auto kRows = std::make_integer_sequence<int, kNibbleTileRows>{};
  TileSet set;
  set.max_rows = kNibbleTileRows;
  set.columns = kTileColumns;
  set.a_step_bytes = (Format::kGroup / 2 + Format::kExtraDwords) * 4;
  set.w_step_bytes = Format::kStepBytes;
  set.tile = nibble_tiles<Format, kTable, false>(kRows);
  set.streaming = nibble_tiles<Format, kTable, true>(kRows);
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
