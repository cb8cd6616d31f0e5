// Compressed W unpacked to exact 16-bit values ahead of a dense tile that applies the scale of each
// group: up to 12 rows × 32 columns, for many rows.
//
// Values such as int4 · fp16 do not fit bf16, but their codes do. So the dot products of a group
// stay in 24 registers, and its end adds them, scaled, to sums in L1: 24 more instructions per
// group of 64 · 24 (g128). Block: per group [kDwords][32] dwords, then fp32 scale[32].
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/coded_tile_avx512.h"
#include "kernels/qgemm/fetch_ahead.h"
#include "kernels/qgemm/tile_avx512.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

/// Decodes `steps` groups of one panel; formats without scales have none in the block either.
template <typename Format>
void unpack_codes_avx512(const std::byte* packed, std::int64_t steps, const std::byte* /*next*/,
                         std::byte* w) {
  using Codes = typename Format::Codes;
  const Codes codes;
  for (; steps > 0; --steps, packed += Format::kStepBytes) {
    for (int half = 0; half < 2; ++half) {
      const typename Codes::Columns columns(packed + Format::kColumnsAt, half);
      for (int v = 0; v < Format::kVectors; ++v) {
        const std::byte* vector = packed + v * 128 + half * 64;
        fetch_ahead<64, Ahead::kFar>(vector);
        const typename Codes::Vector stored = codes.load(vector, columns);
#pragma GCC unroll 8
        for (int i = 0; i < Codes::kSteps; ++i) {
          _mm512_store_ps(w + (v * Codes::kSteps + i) * 128 + half * 64,
                          codes.value(stored, columns, i));
        }
      }
    }
    w += Format::kDwords * 128;
    if constexpr (Format::kScale != ScaleKind::kNone) {
      _mm512_store_ps(w, Format::Scale::load(packed + Format::kCodeBytes, 0));
      _mm512_store_ps(w + 64, Format::Scale::load(packed + Format::kCodeBytes, 1));
      w += 128;
    }
  }
}

/// c[kRows][32] (+)= strip · block over `steps` groups.
template <typename Format, int kRows>
void scaled_tile_avx512(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                        bool accumulate) {
  using Dword = typename Format::Codes::Dword;
  auto* tile = static_cast<std::byte*>(c);
  for (; steps > 0; --steps) {
    __m512 sum[kRows][2];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      sum[r][0] = _mm512_setzero_ps();
      sum[r][1] = _mm512_setzero_ps();
    }
#pragma GCC unroll 1
    for (int d = 0; d < Format::kDwords; ++d) {
      const __m512 w0 = Dword::load(w);
      const __m512 w1 = Dword::load(w + 64);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const __m512 x = Dword::broadcast(a + r * 4);
        sum[r][0] = Dword::multiply_add(sum[r][0], w0, x);
        sum[r][1] = Dword::multiply_add(sum[r][1], w1, x);
      }
      a += kRows * 4;
      w += 128;
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        std::byte* at = tile + r * 128 + half * 64;
        __m512 scale = _mm512_load_ps(w + half * 64);
        if constexpr (Format::kXScale) {
          scale = _mm512_mul_ps(scale, Dword::broadcast(a + r * 4));
        }
        const __m512 before = accumulate ? _mm512_load_ps(at) : _mm512_setzero_ps();
        _mm512_store_ps(at, _mm512_fmadd_ps(sum[r][half], scale, before));
      }
    }
    accumulate = true;
    a += Format::kExtraDwords * kRows * 4;
    w += 128;
  }
}

template <typename Format, int... kRowsLessOne>
const TileFunction* scaled_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {nullptr,
                                            &scaled_tile_avx512<Format, kRowsLessOne + 1>...};
  return kTiles;
}

/// Tiles over blocks of W unpacked once for all strips: for many rows.
template <typename Format>
TileSet unpacked_tile_set(StoreFunction store) {
  TileSet set;
  if constexpr (Format::kScale == ScaleKind::kNone) {
    set = dword_tile_set<typename Format::Codes::Dword>(store);
    set.steps_per_packed = Format::kDwords;
  } else {
    constexpr auto kRows = std::make_integer_sequence<int, kTileRows>{};
    set.max_rows = kTileRows;
    set.columns = kTileColumns;
    set.a_step_bytes = (Format::kDwords + Format::kExtraDwords) * 4;
    set.w_step_bytes = (Format::kDwords + 1) * 128;
    set.tile = scaled_tiles<Format>(kRows);
    set.streaming = set.tile;
    set.store = store;
  }
  set.unpack = &unpack_codes_avx512<Format>;
  set.packed_step_bytes = Format::kStepBytes;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
