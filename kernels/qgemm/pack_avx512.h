// Packing rows of x into strips with AVX-512: by 16 × 16 transposes of dwords for tile_avx512.h, as
// chunks of 64 bytes for dense_tile_avx512.h.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/vector_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

/// Chunks of one row, `stride` bytes apart, from `bytes` bytes of x (not read beyond); the rest of
/// the last one is left alone.
inline void copy_chunks_avx512(const std::byte* x, std::int64_t bytes, std::int64_t stride,
                               std::byte* row) {
  std::int64_t begin = 0;
  for (; begin + 64 <= bytes; begin += 64, row += stride) {
    _mm512_storeu_si512(row, _mm512_loadu_si512(x + begin));
  }
  const __mmask64 rest = (1ULL << (bytes - begin)) - 1ULL;
  if (rest != 0) _mm512_mask_storeu_epi8(row, rest, _mm512_maskz_loadu_epi8(rest, x + begin));
}

/// r[i] lane j becomes r[j] lane i.
inline void transpose_dwords_avx512(__m512i r[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  // Within every 128-bit lane q of r[i + n], n = 0…3: dword 4q + n of rows i … i + 3.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int n = 0; n < 4; ++n) {
    const __m512i low01 = _mm512_shuffle_i32x4(r[n], r[n + 4], 0x88);
    const __m512i low23 = _mm512_shuffle_i32x4(r[n], r[n + 4], 0xdd);
    const __m512i high01 = _mm512_shuffle_i32x4(r[n + 8], r[n + 12], 0x88);
    const __m512i high23 = _mm512_shuffle_i32x4(r[n + 8], r[n + 12], 0xdd);
    t[n] = _mm512_shuffle_i32x4(low01, high01, 0x88);
    t[n + 8] = _mm512_shuffle_i32x4(low01, high01, 0xdd);
    t[n + 4] = _mm512_shuffle_i32x4(low23, high23, 0x88);
    t[n + 12] = _mm512_shuffle_i32x4(low23, high23, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

/// Rows of 1-, 2- or 4-byte elements read as dwords; elements from `count` on are 0 and not read.
template <int kElementBytes>
struct DwordRows {
  const std::byte* data = nullptr;
  std::int64_t stride_bytes = 0;
  std::int64_t count = 0;

  [[nodiscard]] __m512i load(int row, std::int64_t dword) const {
    const std::byte* p = data + row * stride_bytes + dword * 4;
    const std::int64_t left = std::max<std::int64_t>(count - dword * (4 / kElementBytes), 0);
    if constexpr (kElementBytes == 4) {
      return _mm512_maskz_loadu_epi32(first_lanes(left), p);
    } else if constexpr (kElementBytes == 2) {
      const __mmask32 lanes = left >= 32 ? ~0U : (1U << left) - 1U;
      return _mm512_maskz_loadu_epi16(lanes, p);
    } else {
      const __mmask64 lanes = left >= 64 ? ~0ULL : (1ULL << left) - 1ULL;
      return _mm512_maskz_loadu_epi8(lanes, p);
    }
  }
};

/// Rows of fp32, bf16 or fp16 read as fp32.
struct FloatRows {
  const std::byte* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t stride = 0;  ///< elements
  std::int64_t count = 0;

  [[nodiscard]] __m512i load(int row, std::int64_t k) const {
    return _mm512_castps_si512(
        load_float_avx512(data, dtype, row * stride + k, first_lanes(count - k)));
  }
};

/// Where dword k of K stands in a strip whose every `group` dwords are followed by `extra` more.
struct StripLayout {
  std::int64_t group = 0;  ///< 0: no groups
  std::int64_t extra = 0;

  [[nodiscard]] std::int64_t position(std::int64_t k) const {
    return group == 0 ? k : k + k / group * extra;
  }
};

/// strip[position(k)][rows] from `rows` ≤ 16 rows of x, k < dwords, zeros
/// beyond what the rows hold.
template <typename Rows>
void pack_strip_avx512(const Rows& x, int rows, std::int64_t dwords, const StripLayout& layout,
                       std::byte* strip) {
  auto* out = reinterpret_cast<std::uint32_t*>(strip);
  const __mmask16 row_lanes = first_lanes(rows);
  for (std::int64_t k = 0; k < dwords; k += 16) {
    __m512i block[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) block[i] = i < rows ? x.load(i, k) : _mm512_setzero_si512();
    transpose_dwords_avx512(block);
    const int steps = dwords - k < 16 ? static_cast<int>(dwords - k) : 16;
    for (int i = 0; i < steps; ++i) {
      _mm512_mask_storeu_epi32(out + layout.position(k + i) * rows, row_lanes, block[i]);
    }
  }
}

}  // namespace pareto

#pragma GCC pop_options
