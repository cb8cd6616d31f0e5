// What blocked attention needs of AVX2: masks of lanes, sums over lanes, 2^⌊x⌋, and operands of
// every type decoded.
//
// Included inside a `#pragma GCC target` region.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "kernels/attention/kv_rows.h"
#include "kernels/attention/register_tiles.h"
#include "kernels/vector_avx2.h"

namespace pareto {

/// For exp2_vector: below −126 the result is 0, above 127 there is none.
struct AttentionAvx2F32 : Avx2F32 {
  static Reg clamped(Reg x) { return min(set1(127.0F), max(set1(-127.0F), x)); }
  static Reg floor_rest(Reg x) {
    const Reg whole = clamped(x);
    return sub(whole, _mm256_floor_ps(whole));
  }
  static Reg scale_floor(Reg a, Reg x) {
    const __m256i n = _mm256_cvtps_epi32(_mm256_floor_ps(clamped(x)));
    return mul(
        a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)));
  }
};

/// 8 elements of fp32, bf16, fp16, E4M3 or s8. E4M3 shifted by 7 bits is the fp16 number 2^-8 times
/// as large, subnormals included.
inline __m256 load_codes_avx2(const std::byte* p, DType dtype) {
  if (dtype != DType::kS8 && dtype != DType::kE4m3) return load_float_avx2(p, dtype);
  const __m128i codes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  if (dtype == DType::kS8) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes));
  const __m128i wide = _mm_slli_epi16(_mm_cvtepu8_epi16(codes), 7);
  const __m128i sign = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x4000)), 1);
  const __m128i rest = _mm_and_si128(wide, _mm_set1_epi16(0x3fff));
  return _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(sign, rest)), _mm256_set1_ps(256.0F));
}

/// The same from element i on, of which only `count` are there; the others are 0 and not read.
inline __m256 load_codes_avx2(const std::byte* data, DType dtype, std::int64_t bytes,
                              std::int64_t i, std::int64_t count) {
  if (count >= 8) return load_codes_avx2(data + i * bytes, dtype);
  alignas(32) std::byte edge[32] = {};
  if (count > 0) std::memcpy(edge, data + i * bytes, static_cast<std::size_t>(count * bytes));
  return load_codes_avx2(edge, dtype);
}

/// r[i] lane j becomes r[j] lane i.
inline void transpose_avx2(__m256 (&r)[8]) {
  __m256 pairs[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  __m256 fours[8];
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
    fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}

struct AttentionLanesAvx2 {
  using V = AttentionAvx2F32;
  using Reg = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kColumns = 2;
  static constexpr int kPanel = 16;
  static constexpr int kRows = 6;

  static Reg load(const std::uint32_t* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
  static Reg load_floats(const float* p) { return _mm256_loadu_ps(p); }
  static void store_floats(float* p, Reg x) { _mm256_storeu_ps(p, x); }
  static Reg broadcast(const std::uint32_t* p) {
    return _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(*p)));
  }
  /// Lanes l with lo ≤ j + l < hi.
  static __m256 lanes_between(std::int64_t j, std::int64_t lo, std::int64_t hi) {
    const auto from = static_cast<int>(std::clamp<std::int64_t>(lo - j, 0, kLanes));
    const auto to = static_cast<int>(std::clamp<std::int64_t>(hi - j, 0, kLanes));
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(
        _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(from), lane),
                            _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lane)));
  }
  /// Those lanes of the mask whose byte is not 0.
  static __m256 allowed_lanes(__m256 mask, const std::uint8_t* p, std::int64_t stride) {
    const int wanted = _mm256_movemask_ps(mask);
    alignas(32) std::int32_t lanes[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = (wanted >> lane & 1) != 0 && p[lane * stride] != 0 ? -1 : 0;
    }
    return _mm256_castsi256_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(lanes)));
  }
  static Reg load_lanes(__m256 mask, const float* p, std::int64_t stride) {
    return stride == 0 ? _mm256_set1_ps(*p) : _mm256_maskload_ps(p, _mm256_castps_si256(mask));
  }
  static Reg select(__m256 mask, Reg a, Reg b) { return _mm256_blendv_ps(b, a, mask); }
  static Reg iota() { return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7); }
  static float reduce_max(Reg x) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
  static float reduce_add(Reg x) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }
  static float first(Reg x) { return _mm256_cvtss_f32(x); }

  /// `count` elements from element i of a row of o, times `factor`, rounded once to o's type.
  static void store_row(const Tensor& o, std::int64_t i, std::int64_t count, const float* from,
                        float factor) {
    const auto bytes = static_cast<std::int64_t>(size_of(o.dtype));
    for (std::int64_t c = 0; c < count; c += kLanes) {
      const Reg x = _mm256_mul_ps(_mm256_loadu_ps(from + c), _mm256_set1_ps(factor));
      std::byte* to = o.data + (i + c) * bytes;
      if (count - c >= kLanes) {
        store_float_avx2(to, o.dtype, x);
      } else {
        alignas(32) std::byte edge[32];
        store_float_avx2(edge, o.dtype, x);
        std::memcpy(to, edge, static_cast<std::size_t>((count - c) * bytes));
      }
    }
  }
  static bool any_non_finite(Reg x) {
    const Reg infinity = _mm256_set1_ps(std::numeric_limits<float>::infinity());
    return _mm256_movemask_ps(_mm256_cmp_ps(V::abs(x), infinity, _CMP_NLT_UQ)) != 0;
  }
};

}  // namespace pareto
