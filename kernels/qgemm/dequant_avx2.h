// Decoding compressed panels of W with AVX2 to [k][32] fp32; as dequant_avx512.h, in 8 lanes.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <utility>

#include "kernels/qgemm/dequant_panels.h"
#include "kernels/qgemm/dequant_values.h"
#include "kernels/qgemm/store_avx2.h"
#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

/// The 16 floats that nibbles stand for, looked up in two halves.
struct NibbleTableAvx2 {
  explicit NibbleTableAvx2(CodeKind kind)
      : low(_mm256_loadu_ps(nibble_values(kind))), high(_mm256_loadu_ps(nibble_values(kind) + 8)) {}
  /// Of the lowest 4 bits of each lane.
  [[nodiscard]] __m256 look_up(__m256i codes) const {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, codes),
                            _mm256_permutevar8x32_ps(high, codes),
                            _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
  }
  __m256 low;
  __m256 high;
};

/// 8 codes of 8 (or 6) bits, one per byte, to fp32.
template <CodeKind kKind>
inline __m256 byte_values_avx2(__m128i codes) {
  if constexpr (kKind == CodeKind::kS8) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
  } else {
    constexpr ByteFloat kFloat = byte_float(kKind);
    const __m128i word = _mm_cvtepu8_epi16(codes);
    const __m128i sign = _mm_and_si128(_mm_slli_epi16(word, kFloat.sign_shift),
                                       _mm_set1_epi16(static_cast<short>(0x8000)));
    const __m128i rest =
        _mm_and_si128(_mm_slli_epi16(word, kFloat.shift),
                      _mm_set1_epi16(static_cast<short>(kFloat.magnitude_mask << kFloat.shift)));
    const __m256 value = _mm256_cvtph_ps(_mm_or_si128(sign, rest));
    return kFloat.bias == 1.0F ? value : _mm256_mul_ps(value, _mm256_set1_ps(kFloat.bias));
  }
}

/// Scales 8 columns from `vector` · 8 on.
template <DequantFormat kFormat>
inline __m256 apply_affine_avx2(__m256 value, const std::byte* step, int vector) {
  const auto* scales = reinterpret_cast<const float*>(step + kFormat.code_bytes()) + vector * 8;
  if constexpr (kFormat.offset) {
    return _mm256_fmadd_ps(value, _mm256_load_ps(scales), _mm256_load_ps(scales + 32));
  }
  if constexpr (kFormat.scaled) return _mm256_mul_ps(value, _mm256_load_ps(scales));
  return value;
}

/// Decodes `steps` groups of one panel.
template <DequantFormat kFormat>
void unpack_avx2(const std::byte* packed, std::int64_t steps, std::byte* w) {
  const NibbleTableAvx2 table(kFormat.codes);
  for (; steps > 0; --steps, packed += kFormat.step_bytes()) {
    const std::byte* codes = packed;
    for (int k = 0; k < kFormat.group; k += 2) {
      auto* even = reinterpret_cast<float*>(w);
      _mm_prefetch(reinterpret_cast<const char*>(codes) + kAvx2AheadBytes, _MM_HINT_T0);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + v * 8));
        __m256 first;
        __m256 second;
        if constexpr (is_nibble(kFormat.codes)) {
          const __m256i pair = _mm256_cvtepu8_epi32(bytes);
          first = table.look_up(pair);
          second = table.look_up(_mm256_srli_epi32(pair, 4));
        } else {
          first = byte_values_avx2<kFormat.codes>(bytes);
          second = byte_values_avx2<kFormat.codes>(
              _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + 32 + v * 8)));
        }
        _mm256_store_ps(even + v * 8, apply_affine_avx2<kFormat>(first, packed, v));
        _mm256_store_ps(even + 32 + v * 8, apply_affine_avx2<kFormat>(second, packed, v));
      }
      codes += is_nibble(kFormat.codes) ? 32 : 64;
      w += 256;
    }
  }
}

template <std::size_t... kIndex>
UnpackFunction find_unpack_avx2(const DequantFormat& format,
                                std::index_sequence<kIndex...> /*all*/) {
  static constexpr UnpackFunction kFunctions[] = {&unpack_avx2<kDequantFormats[kIndex]>...};
  for (std::size_t i = 0; i < sizeof...(kIndex); ++i) {
    if (kDequantFormats[i] == format) return kFunctions[i];
  }
  return nullptr;
}

/// Dense fp32 tiles over panels of `format`.
inline TileSet dequant_tile_set_avx2(const DequantFormat& format) {
  TileSet set = step_tile_set_avx2<Avx2StepF32>(&store_f32_avx2);
  set.unpack = find_unpack_avx2(format, std::make_index_sequence<std::size(kDequantFormats)>{});
  set.packed_step_bytes = format.step_bytes();
  set.steps_per_packed = format.group;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
