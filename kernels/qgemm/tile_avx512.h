// Register tile of the AVX-512 matrix products: up to 12 rows × 32 columns, 24 accumulators, 2
// registers of W and one broadcast of x, over steps of one dword of K (1 fp32, 2 bf16 or 4 int8).
//
// An explicit broadcast serves both columns: {1to16} operands reach 88 % of the ceiling where this
// reaches 95 %, since Zen 5 has two load ports for two multiply-adds. K is not unrolled.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

inline constexpr int kTileRows = 12;
inline constexpr int kTileColumns = 32;
/// How far ahead of its use a streamed panel is fetched: 8 KiB, 64 steps (none: 0.68 of a plain
/// read of DRAM at M = 1, this: 0.97).
inline constexpr int kStreamAheadBytes = 8192;

/// The 4 bytes at p, which need no alignment, in every lane. Of floats, too: vpbroadcastd is a load
/// and no more, while vbroadcastss, which the compiler would choose, takes a slot of Zen 4's
/// multipliers (12 × 16 fp32: 16 cycles per step instead of 12).
struct [[gnu::packed]] UnalignedDword {
  std::int32_t value;
};
template <typename Reg>
[[gnu::always_inline]] inline Reg broadcast_dword(const void* p) {
  Reg r;
  asm("vpbroadcastd %1, %0" : "=v"(r) : "m"(*static_cast<const UnalignedDword*>(p)));
  return r;
}

/// One fp32 per dword.
struct DwordF32 {
  using Reg = __m512;
  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg load(const void* p) { return _mm512_load_ps(p); }
  static void store(void* p, Reg r) { _mm512_store_ps(p, r); }
  static Reg broadcast(const void* p) { return broadcast_dword<Reg>(p); }
  static Reg multiply_add(Reg c, Reg w, Reg a) { return _mm512_fmadd_ps(a, w, c); }
};

/// c plus the products of pairs of bf16, and of four u8 with four s8, of 16 or 8 columns.
/// Instructions newer than this header's target stand in inline assembly: an intrinsic of a wider
/// target could not be inlined into the tile.
template <typename Reg>
[[gnu::always_inline]] inline Reg dot_bf16(Reg c, Reg w, Reg a) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(w), "v"(a));
  return c;
}
template <typename Reg>
[[gnu::always_inline]] inline Reg dot_u8_s8(Reg c, Reg w, Reg a) {
  asm("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(w), "v"(a));
  return c;
}

/// Two bf16 per dword, fp32 sums.
struct DwordBf16 : DwordF32 {
  static Reg multiply_add(Reg c, Reg w, Reg a) { return dot_bf16(c, w, a); }
};

/// Four bytes per dword, W unsigned, x signed, int32 sums.
struct DwordVnni {
  using Reg = __m512i;
  static Reg zero() { return _mm512_setzero_si512(); }
  static Reg load(const void* p) { return _mm512_load_si512(p); }
  static void store(void* p, Reg r) { _mm512_store_si512(p, r); }
  static Reg broadcast(const void* p) { return broadcast_dword<Reg>(p); }
  static Reg multiply_add(Reg c, Reg w, Reg a) { return dot_u8_s8(c, w, a); }
};

/// c[kRows][32] (+)= strip [steps][kRows dwords] · panel [steps][32 dwords].
template <typename Dword, int kRows, bool kStream>
void dword_tile_avx512(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                       bool accumulate) {
  using Reg = typename Dword::Reg;
  auto* tile = static_cast<std::byte*>(c);
  Reg sum[kRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    sum[i][0] = accumulate ? Dword::load(tile + i * 128) : Dword::zero();
    sum[i][1] = accumulate ? Dword::load(tile + i * 128 + 64) : Dword::zero();
  }
  for (; steps > 0; --steps) {
    const Reg w0 = Dword::load(w);
    const Reg w1 = Dword::load(w + 64);
    if constexpr (kStream) {
      _mm_prefetch(reinterpret_cast<const char*>(w) + kStreamAheadBytes, _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(w) + kStreamAheadBytes + 64, _MM_HINT_T0);
    }
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const Reg x = Dword::broadcast(a + i * 4);
      sum[i][0] = Dword::multiply_add(sum[i][0], w0, x);
      sum[i][1] = Dword::multiply_add(sum[i][1], w1, x);
    }
    a += kRows * 4;
    w += 128;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    Dword::store(tile + i * 128, sum[i][0]);
    Dword::store(tile + i * 128 + 64, sum[i][1]);
  }
}

template <typename Dword, bool kStream, int... kRowsLessOne>
const TileFunction* dword_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {
      nullptr, &dword_tile_avx512<Dword, kRowsLessOne + 1, kStream>...};
  return kTiles;
}

/// The tile set of one dword type.
template <typename Dword>
TileSet dword_tile_set(StoreFunction store) {
  constexpr auto kRows = std::make_integer_sequence<int, kTileRows>{};
  TileSet set;
  set.max_rows = kTileRows;
  set.columns = kTileColumns;
  set.a_step_bytes = 4;
  set.w_step_bytes = 4 * kTileColumns;
  set.tile = dword_tiles<Dword, false>(kRows);
  set.streaming = dword_tiles<Dword, true>(kRows);
  set.store = store;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
