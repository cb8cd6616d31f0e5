// Decoding compressed panels of W with AVX2, in 8 lanes: ahead of a dense tile to [k][32] fp32, as
// dequant_avx512.h, or with few rows in the tile.
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

/// Decodes the panels of one format.
template <DequantFormat kFormat>
class DecoderAvx2 {
 public:
  /// Bytes of the codes of two consecutive k.
  static constexpr std::int64_t kPairBytes = is_nibble(kFormat.codes) ? 32 : 64;

  /// Scaled values of 8 columns from `vector` · 8 on, of the two k that `codes` holds in `step`.
  void decode(const std::byte* codes, const std::byte* step, int vector, __m256& even,
              __m256& odd) const {
    const __m128i bytes = load_eight(codes + vector * 8);
    if constexpr (kFormat.codes == CodeKind::kInt4 || kFormat.codes == CodeKind::kUInt4) {
      const __m256i pair = _mm256_cvtepu8_epi32(bytes);
      even = integer_value(_mm256_and_si256(pair, _mm256_set1_epi32(15)));
      odd = integer_value(_mm256_srli_epi32(pair, 4));
    } else if constexpr (is_nibble(kFormat.codes)) {
      const __m256i pair = _mm256_cvtepu8_epi32(bytes);
      even = table_.look_up(pair);
      odd = table_.look_up(_mm256_srli_epi32(pair, 4));
    } else {
      even = byte_values_avx2<kFormat.codes>(bytes);
      odd = byte_values_avx2<kFormat.codes>(load_eight(codes + 32 + vector * 8));
    }
    even = apply_affine_avx2<kFormat>(even, step, vector);
    odd = apply_affine_avx2<kFormat>(odd, step, vector);
  }

 private:
  static __m128i load_eight(const std::byte* p) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  }
  /// As the lowest bits of 2^23, a code is a float but for 2^23: cheaper than looking it up.
  static __m256 integer_value(__m256i codes) {
    constexpr float kZero = kFormat.codes == CodeKind::kInt4 ? 8 : 0;
    const __m256 raised =
        _mm256_castsi256_ps(_mm256_or_si256(codes, _mm256_castps_si256(_mm256_set1_ps(0x1p23F))));
    return _mm256_sub_ps(raised, _mm256_set1_ps(0x1p23F + kZero));
  }

  NibbleTableAvx2 table_{kFormat.codes};
};

/// Decodes `steps` groups of one panel.
template <DequantFormat kFormat>
void unpack_avx2(const std::byte* packed, std::int64_t steps, const std::byte* /*next*/,
                 std::byte* w) {
  const DecoderAvx2<kFormat> decoder;
  for (; steps > 0; --steps, packed += kFormat.step_bytes()) {
    const std::byte* codes = packed;
    for (int k = 0; k < kFormat.group; k += 2, codes += decoder.kPairBytes, w += 256) {
      auto* out = reinterpret_cast<float*>(w);
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) {
        __m256 even;
        __m256 odd;
        decoder.decode(codes, packed, v, even, odd);
        _mm256_store_ps(out + v * 8, even);
        _mm256_store_ps(out + 32 + v * 8, odd);
      }
    }
  }
}

/// sums of `kVectors` · 8 columns from `first` · 8 on, over `steps` groups.
template <DequantFormat kFormat, int kRows, int kVectors>
[[gnu::always_inline]] inline void coded_columns_avx2(const std::byte* a, const std::byte* w,
                                                      std::int64_t steps, float* c, int first,
                                                      bool accumulate) {
  const DecoderAvx2<kFormat> decoder;
  __m256 sum[kRows][kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = accumulate ? _mm256_load_ps(c + i * 32 + (first + v) * 8) : _mm256_setzero_ps();
    }
  }
  const auto* x = reinterpret_cast<const float*>(a);
  for (; steps > 0; --steps, w += kFormat.step_bytes()) {
    const std::byte* codes = w;
#pragma GCC unroll 2
    for (int k = 0; k < kFormat.group; k += 2, codes += decoder.kPairBytes, x += 2 * kRows) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        __m256 even;
        __m256 odd;
        decoder.decode(codes, w, first + v, even, odd);
#pragma GCC unroll 4
        for (int i = 0; i < kRows; ++i) {
          sum[i][v] = _mm256_fmadd_ps(even, _mm256_broadcast_ss(x + i), sum[i][v]);
          sum[i][v] = _mm256_fmadd_ps(odd, _mm256_broadcast_ss(x + kRows + i), sum[i][v]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      _mm256_store_ps(c + i * 32 + (first + v) * 8, sum[i][v]);
    }
  }
}

/// Vectors of columns at a time: as many as leave registers for x, scales and what decoding takes.
constexpr int coded_vectors_avx2(int rows, bool offset) {
  if (rows > 2) return 1;
  return (offset ? 2 : 4) / rows;
}

/// c[kRows][32] fp32 (+)= strip [steps][group][kRows] · panel over `steps` groups.
template <DequantFormat kFormat, int kRows>
void coded_tile_avx2(const std::byte* a, const std::byte* w, std::int64_t steps, void* c,
                     bool accumulate) {
  constexpr int kVectors = coded_vectors_avx2(kRows, kFormat.offset);
  for (int first = 0; first < 4; first += kVectors) {
    coded_columns_avx2<kFormat, kRows, kVectors>(a, w, steps, static_cast<float*>(c), first,
                                                 accumulate);
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

/// Up to so many rows W is decoded in the tile itself; with more, once for all of them.
inline constexpr int kAvx2CodedRows = 4;

template <DequantFormat kFormat, int... kRowsLessOne>
const TileFunction* coded_tiles_avx2(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr TileFunction kTiles[] = {nullptr,
                                            &coded_tile_avx2<kFormat, kRowsLessOne + 1>...};
  return kTiles;
}

template <std::size_t... kIndex>
const TileFunction* find_coded_tiles_avx2(const DequantFormat& format,
                                          std::index_sequence<kIndex...> /*all*/) {
  constexpr auto kRows = std::make_integer_sequence<int, kAvx2CodedRows>{};
  static const TileFunction* const kTiles[] = {coded_tiles_avx2<kDequantFormats[kIndex]>(kRows)...};
  for (std::size_t i = 0; i < sizeof...(kIndex); ++i) {
    if (kDequantFormats[i] == format) return kTiles[i];
  }
  return nullptr;
}

/// fp32 tiles over panels of `format` for M rows; a step is one k where panels are unpacked ahead,
/// a group where the tile decodes them.
inline TileSet dequant_tile_set_avx2(const DequantFormat& format, std::int64_t M) {
  constexpr auto kFormats = std::make_index_sequence<std::size(kDequantFormats)>{};
  TileSet set = step_tile_set_avx2<Avx2StepF32>(&store_f32_avx2);
  if (M <= kAvx2CodedRows) {
    set.max_rows = kAvx2CodedRows;
    set.a_step_bytes = std::int64_t{format.group} * 4;
    set.w_step_bytes = format.step_bytes();
    set.tile = find_coded_tiles_avx2(format, kFormats);
    set.streaming = set.tile;
    set.half = nullptr;
    set.passes = 1;
    return set;
  }
  set.unpack = find_unpack_avx2(format, kFormats);
  set.packed_step_bytes = format.step_bytes();
  set.steps_per_packed = format.group;
  return set;
}

}  // namespace pareto

#pragma GCC pop_options
