// Register tiles of int8 products with AVX2 over panels of 16 columns of u8, in two ways: x in s8,
// of which no pair saturates (pair_excess.h), or in s16. A step is 4 values of K: panel
// [steps][16][4], a line each.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

inline constexpr int kByteStepK = 4;
inline constexpr int kByteColumns = 16;
/// Of one row of a tile.
inline constexpr int kByteSumBytes = kByteColumns * sizeof(std::int32_t);
/// Of one panel in a block of K: longer ones, whose sums pass through c less often, win against
/// what would stay in L1 (512x4096x14336: 16 to 64 KiB 5 to 10 % slower).
inline constexpr std::int64_t kByteBlockBytes = 128 << 10;

/// c + `sum`. In assembly: GCC 12 would sum into another register and copy.
[[gnu::always_inline]] inline __m256i add_avx2(__m256i c, __m256i sum) {
  asm("vpaddd %[sum], %[c], %[c]" : [c] "+x"(c) : [sum] "x"(sum));
  return c;
}

/// What both kinds of steps have in common.
struct ByteColumnsAvx2 {
  using Reg = __m256i;
  static constexpr int kColumns = kByteColumns;
  static constexpr int kStepBytes = kColumns * kByteStepK;
  static Reg zero() { return _mm256_setzero_si256(); }
  static Reg load(const std::byte* c) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(c));
  }
  static void store(std::byte* c, Reg r) { _mm256_store_si256(reinterpret_cast<__m256i*>(c), r); }
};

/// x as s8, strip [steps][rows][4]: three instructions for 32 products.
struct ByteStepAvx2 : ByteColumnsAvx2 {
  static constexpr int kRowBytes = 4;

  /// sum[i] += row i · kVectors × 8 columns.
  template <int kRows, int kVectors>
  [[gnu::always_inline]] static void add(const std::byte* a, const std::byte* w,
                                         Reg (&sum)[kRows][kVectors]) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v += 2) {
      const Reg w0 = load(w + v * 32);
      const Reg w1 = load(w + v * 32 + 32);
#pragma GCC unroll 6
      for (int i = 0; i < kRows; ++i) add_row(a + i * kRowBytes, w0, w1, sum[i][v], sum[i][v + 1]);
    }
  }

  /// c + 8 columns · x of one row, a dword in every lane.
  static Reg multiply_add(Reg c, Reg w, Reg x) {
    return add_avx2(c, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
  }

 private:
  alignas(32) static constexpr std::int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1,
                                                         1, 1, 1, 1, 1, 1, 1, 1};

  // In assembly: 12 sums, 2 columns and these 2 are all registers, so that the ones must be read.
  [[gnu::always_inline]] static void add_row(const std::byte* a, Reg w0, Reg w1, Reg& sum0,
                                             Reg& sum1) {
    Reg p0;
    Reg p1;
    asm("vpbroadcastd %[x], %[p1]\n\t"
        "vpmaddubsw %[p1], %[w0], %[p0]\n\t"
        "vpmaddubsw %[p1], %[w1], %[p1]\n\t"
        "vpmaddwd %[ones], %[p0], %[p0]\n\t"
        "vpmaddwd %[ones], %[p1], %[p1]\n\t"
        "vpaddd %[p0], %[sum0], %[sum0]\n\t"
        "vpaddd %[p1], %[sum1], %[sum1]"
        : [sum0] "+x"(sum0), [sum1] "+x"(sum1), [p0] "=&x"(p0), [p1] "=&x"(p1)
        : [x] "m"(*reinterpret_cast<const std::int32_t*>(a)), [w0] "x"(w0), [w1] "x"(w1),
          [ones] "m"(kOnes));
  }
};

/// x as s16, strip [steps][rows][(x0, x2), (x1, x3)]: a step's even codes of W, then its odd
/// ones, as words; four instructions for 32 products, whatever the codes are.
struct WordStepAvx2 : ByteColumnsAvx2 {
  static constexpr int kRowBytes = 8;

  /// As ByteStepAvx2.
  template <int kRows, int kVectors>
  [[gnu::always_inline]] static void add(const std::byte* a, const std::byte* w,
                                         Reg (&sum)[kRows][kVectors]) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; v += 2) {
      const std::byte* from = w + v * 32;
      add_half(a, even(from), even(from + 32), v, sum);
      add_half(a + kRowBytes / 2, odd(from), odd(from + 32), v, sum);
    }
  }

 private:
  alignas(32) static constexpr std::uint16_t kLow[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                                         0xff, 0xff, 0xff, 0xff};

  // In assembly, for no register is left to hold the mask, or W as it was read for both halves.
  [[gnu::always_inline]] static Reg even(const std::byte* w) {
    Reg words;
    asm("vmovdqa %[w], %[words]\n\t"
        "vpand %[low], %[words], %[words]"
        : [words] "=x"(words)
        : [w] "m"(*reinterpret_cast<const Reg*>(w)), [low] "m"(kLow));
    return words;
  }
  [[gnu::always_inline]] static Reg odd(const std::byte* w) {
    Reg words;
    asm("vmovdqa %[w], %[words]\n\t"
        "vpsrlw $8, %[words], %[words]"
        : [words] "=x"(words)
        : [w] "m"(*reinterpret_cast<const Reg*>(w)));
    return words;
  }

  template <int kRows, int kVectors>
  [[gnu::always_inline]] static void add_half(const std::byte* a, Reg w0, Reg w1, int v,
                                              Reg (&sum)[kRows][kVectors]) {
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) add_row(a + i * kRowBytes, w0, w1, sum[i][v], sum[i][v + 1]);
  }

  [[gnu::always_inline]] static void add_row(const std::byte* a, Reg w0, Reg w1, Reg& sum0,
                                             Reg& sum1) {
    Reg p0;
    Reg p1;
    asm("vpbroadcastd %[x], %[p1]\n\t"
        "vpmaddwd %[p1], %[w0], %[p0]\n\t"
        "vpmaddwd %[p1], %[w1], %[p1]\n\t"
        "vpaddd %[p0], %[sum0], %[sum0]\n\t"
        "vpaddd %[p1], %[sum1], %[sum1]"
        : [sum0] "+x"(sum0), [sum1] "+x"(sum1), [p0] "=&x"(p0), [p1] "=&x"(p1)
        : [x] "m"(*reinterpret_cast<const std::int32_t*>(a)), [w0] "x"(w0), [w1] "x"(w1));
  }
};

template <typename Step>
TileSet byte_tile_set_avx2(StoreFunction store) {
  TileSet set = step_tile_set_avx2<Step>(store);
  set.panel_block_bytes = kByteBlockBytes;
  return set;
}

/// A single strip meets so many panels side by side, each of which is fetched a little ahead: one
/// row as fast as memory can be read (int8 from DRAM on Zen 3: 97 to 103 % of plain reads in four
/// streams; two panels 88 %, one 67 %, three fetched 2 KiB ahead 84 %).
inline constexpr int kByteStreams = 3;
inline constexpr int kByteRowAheadBytes = 512;

/// c[kPanels][16] = one row of s8 · each of `kPanels` panels, which are read side by side.
template <int kPanels>
void row_of_panels_avx2(const std::byte* a, const std::byte* const* w, std::int64_t steps,
                        std::byte* c) {
  constexpr int kVectors = ByteStepAvx2::kStepBytes / 32;
  __m256i sum[kPanels][kVectors];
  const __m256i* from[kPanels];
#pragma GCC unroll 3
  for (int p = 0; p < kPanels; ++p) {
    from[p] = reinterpret_cast<const __m256i*>(w[p]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[p][v] = _mm256_setzero_si256();
  }
  for (; steps > 0; --steps, a += ByteStepAvx2::kRowBytes) {
    const __m256i x = broadcast_dword_avx2(a);
#pragma GCC unroll 3
    for (int p = 0; p < kPanels; ++p) {
      const auto* ahead = reinterpret_cast<const char*>(from[p]) + kByteRowAheadBytes;
      _mm_prefetch(ahead, _MM_HINT_T0);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sum[p][v] = ByteStepAvx2::multiply_add(sum[p][v], _mm256_load_si256(from[p] + v), x);
      }
      from[p] += kVectors;
    }
  }
#pragma GCC unroll 3
  for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(c) + p * kVectors + v, sum[p][v]);
    }
  }
}

/// c[panels][rows][16] = a strip of up to 6 rows of s8 · each of up to kByteStreams panels. Several
/// rows meet them by turns, a few KiB of each: registers hold the sums of one panel.
inline void strip_of_panels_avx2(const std::byte* a, int rows, std::span<const std::byte* const> w,
                                 std::int64_t steps, std::byte* c) {
  if (rows == 1) {
    static constexpr decltype(&row_of_panels_avx2<1>) kFunctions[] = {
        nullptr, &row_of_panels_avx2<1>, &row_of_panels_avx2<2>, &row_of_panels_avx2<kByteStreams>};
    return kFunctions[w.size()](a, w.data(), steps, c);
  }
  constexpr std::int64_t kTurnSteps = 64;
  constexpr int kTurnBytes = kTurnSteps * ByteStepAvx2::kStepBytes;
  constexpr auto kRows = std::make_integer_sequence<int, kAvx2TileRows>{};
  const TileFunction tile = step_tiles_avx2<ByteStepAvx2, kTurnBytes>(kRows)[rows];
  std::int64_t k = 0;
  do {
    for (std::size_t p = 0; p < w.size(); ++p) {
      tile(a + k * rows * ByteStepAvx2::kRowBytes, w[p] + k * ByteStepAvx2::kStepBytes,
           std::min(kTurnSteps, steps - k), c + p * rows * kByteSumBytes, k > 0);
    }
    k += kTurnSteps;
  } while (k < steps);  // once even if K is 0
}

}  // namespace pareto

#pragma GCC pop_options
