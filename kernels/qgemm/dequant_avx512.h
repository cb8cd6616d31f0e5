// Decoding compressed panels of W with AVX-512, to what the dense tiles read: [k][32] fp32, or
// [k/2][32] pairs of bf16.
//
// Nibbles index a register of 16 floats; 8- and 6-bit floats go through fp16 (dequant_values.h).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "kernels/qgemm/dequant_panels.h"
#include "kernels/qgemm/dequant_values.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_avx512.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

/// 16 codes of 8 (or 6) bits, one per byte, to fp32.
template <CodeKind kKind>
inline __m512 byte_values_avx512(__m128i codes) {
  if constexpr (kKind == CodeKind::kS8) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
  } else {
    constexpr ByteFloat kFloat = byte_float(kKind);
    const __m256i word = _mm256_cvtepu8_epi16(codes);
    const __m256i sign = _mm256_and_si256(_mm256_slli_epi16(word, kFloat.sign_shift),
                                          _mm256_set1_epi16(static_cast<short>(0x8000)));
    const __m256i rest = _mm256_and_si256(
        _mm256_slli_epi16(word, kFloat.shift),
        _mm256_set1_epi16(static_cast<short>(kFloat.magnitude_mask << kFloat.shift)));
    const __m512 value = _mm512_cvtph_ps(_mm256_or_si256(sign, rest));
    return kFloat.bias == 1.0F ? value : _mm512_mul_ps(value, _mm512_set1_ps(kFloat.bias));
  }
}

/// Scale and offset of 16 columns.
template <DequantFormat kFormat>
struct ColumnAffine {
  explicit ColumnAffine(const std::byte* step, int half)
      : scale(_mm512_setzero_ps()), offset(_mm512_setzero_ps()) {
    const std::byte* scales = step + kFormat.code_bytes() + half * 64;
    if constexpr (kFormat.scaled) scale = _mm512_load_ps(scales);
    if constexpr (kFormat.offset) offset = _mm512_load_ps(scales + 128);
  }
  [[nodiscard]] __m512 apply(__m512 value) const {
    if constexpr (kFormat.offset) return _mm512_fmadd_ps(value, scale, offset);
    if constexpr (kFormat.scaled) return _mm512_mul_ps(value, scale);
    return value;
  }
  __m512 scale;
  __m512 offset;
};

/// Two values of K of 16 columns, decoded.
struct DecodedPair {
  __m512 even;
  __m512 odd;
};

template <DequantFormat kFormat>
inline DecodedPair decode_pair_avx512(const std::byte* codes, int half,
                                      const ColumnAffine<kFormat>& affine) {
  const auto* bytes = reinterpret_cast<const __m128i*>(codes + half * 16);
  if constexpr (is_nibble(kFormat.codes)) {
    const __m512 table = _mm512_loadu_ps(nibble_values(kFormat.codes));
    // The permutation looks at the lowest 4 bits of each lane alone.
    const __m512i pair = _mm512_cvtepu8_epi32(_mm_load_si128(bytes));
    return {affine.apply(_mm512_permutexvar_ps(pair, table)),
            affine.apply(_mm512_permutexvar_ps(_mm512_srli_epi32(pair, 4), table))};
  } else {
    return {affine.apply(byte_values_avx512<kFormat.codes>(_mm_load_si128(bytes))),
            affine.apply(byte_values_avx512<kFormat.codes>(_mm_load_si128(bytes + 2)))};
  }
}

/// bf16 of both, nearest even, interleaved: dword j holds even[j] low and odd[j] high.
inline __m512i interleave_bf16(const DecodedPair& pair) {
  __m512i halves;
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(halves) : "v"(pair.even), "v"(pair.odd));
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, halves);
}

/// Decodes `steps` groups of one panel.
template <DequantFormat kFormat, bool kBf16>
void unpack_avx512(const std::byte* packed, std::int64_t steps, const std::byte* /*next*/,
                   std::byte* w) {
  constexpr int kPairBytes = is_nibble(kFormat.codes) ? 32 : 64;
  for (; steps > 0; --steps, packed += kFormat.step_bytes()) {
    const ColumnAffine<kFormat> left(packed, 0);
    const ColumnAffine<kFormat> right(packed, 1);
    const std::byte* codes = packed;
    for (int k = 0; k < kFormat.group; k += 2, codes += kPairBytes) {
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kStreamAheadBytes, _MM_HINT_T0);
      const DecodedPair a = decode_pair_avx512<kFormat>(codes, 0, left);
      const DecodedPair b = decode_pair_avx512<kFormat>(codes, 1, right);
      if constexpr (kBf16) {
        _mm512_store_si512(w, interleave_bf16(a));
        _mm512_store_si512(w + 64, interleave_bf16(b));
        w += 128;
      } else {
        _mm512_store_ps(w, a.even);
        _mm512_store_ps(w + 64, b.even);
        _mm512_store_ps(w + 128, a.odd);
        _mm512_store_ps(w + 192, b.odd);
        w += 256;
      }
    }
  }
}

template <bool kBf16, std::size_t... kIndex>
UnpackFunction find_unpack(const DequantFormat& format, std::index_sequence<kIndex...> /*all*/) {
  static constexpr UnpackFunction kFunctions[] = {
      &unpack_avx512<kDequantFormats[kIndex], kBf16>...};
  for (std::size_t i = 0; i < sizeof...(kIndex); ++i) {
    if (kDequantFormats[i] == format) return kFunctions[i];
  }
  return nullptr;
}

/// Dense tiles of fp32 or bf16 over panels of `format`.
template <bool kBf16>
TileSet dequant_tile_set_avx512(const DequantFormat& format) {
  TileSet set = kBf16 ? dword_tile_set<DwordBf16>(&store_f32_avx512)
                      : dword_tile_set<DwordF32>(&store_f32_avx512);
  set.unpack = find_unpack<kBf16>(format, std::make_index_sequence<std::size(kDequantFormats)>{});
  set.packed_step_bytes = format.step_bytes();
  set.steps_per_packed = format.group / (kBf16 ? 2 : 1);
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
