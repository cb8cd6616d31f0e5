// Rows of x for the AVX2 tiles, in fp32.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/qgemm/quantize_avx2.h"
#include "kernels/vector_avx2.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"
#include "reference/quantize.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace pareto {

/// `count` values of fp32, bf16 or fp16 from `source` (not read beyond) as fp32.
inline void widen_avx2(const std::byte* source, DType dtype, std::int64_t count, float* values) {
  const auto bytes = static_cast<std::int64_t>(size_of(dtype));
  std::int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    _mm256_storeu_ps(values + k, load_float_avx2(source + k * bytes, dtype));
  }
  if (k == count) return;
  std::byte edge[32] = {};
  std::memcpy(edge, source + k * bytes, static_cast<std::size_t>((count - k) * bytes));
  float last[8];
  _mm256_storeu_ps(last, load_float_avx2(edge, dtype));
  std::memcpy(values + k, last, static_cast<std::size_t>(count - k) * sizeof(float));
}

/// One row of x of a scheme with fp8 activations, as the fp32 values of its codes. With a scale per
/// row these are bare, and the scale is returned; with groups they are scaled, and 1 is returned.
inline float fp8_row_avx2(const QgemmProblem& p, const float* x, float* values) {
  if (p.x_kind == XKind::kFp8Row) {
    const float scale = scale_of(amax_avx2(x, p.K), p.fp8_dtype == DType::kE5m2 ? 57344 : 448);
    fp8_values_avx2(x, p.K, scale, p.fp8_dtype, 1, values);
    return scale;
  }
  for (std::int64_t k = 0; k < p.K; k += p.x_group) {
    const std::int64_t count = std::min(p.x_group, p.K - k);
    const float amax = amax_avx2(x + k, count);
    const float scale = p.x_kind == XKind::kMxfp8
                            ? static_cast<float>(from_e8m0(mx_scale_of(amax, 8)))
                            : scale_of(amax, 448);
    fp8_values_avx2(x + k, count, scale, DType::kE4m3, scale, values + k);
  }
  return 1;
}

/// 8 codes times the scale.
inline __m256 scaled_codes_avx2(__m128i codes, float scale) {
  return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(codes)), _mm256_set1_ps(scale));
}

/// `count` values of x as their codes times the scale.
inline void scaled_codes_avx2(const float* x, std::int64_t count, const CodeRange& range,
                              float* values) {
  const UnitQuantizerAvx2 quantize(range);
  const __m256i zero = _mm256_set1_epi16(static_cast<std::int16_t>(range.zero));
  float edge[kUnit] = {};
  for (std::int64_t k = 0; k < count; k += kUnit) {
    const bool whole = count - k >= kUnit;
    if (!whole) std::copy(x + k, x + count, edge);
    float* out = whole ? values + k : edge;
    const __m256i codes = _mm256_sub_epi16(quantize(whole ? x + k : edge), zero);
    _mm256_storeu_ps(out, scaled_codes_avx2(_mm256_castsi256_si128(codes), range.scale));
    _mm256_storeu_ps(out + 8, scaled_codes_avx2(_mm256_extracti128_si256(codes, 1), range.scale));
    if (!whole) std::copy(edge, edge + (count - k), values + k);
  }
}

/// One row of fp32 x of a scheme with quantized activations as the fp32 values of its codes.
/// `scale` is that of schemes with one for all of x.
inline void quantized_row_avx2(const QgemmProblem& p, const float* x, float scale, float* values) {
  if (p.has_fp8_x()) {
    const float row_scale = fp8_row_avx2(p, x, values);
    for (std::int64_t k = 0; k < p.K; ++k) values[k] *= row_scale;
    return;
  }
  for (std::int64_t k = 0; k < p.K; k += p.x_group) {
    const std::int64_t count = std::min(p.x_group, p.K - k);
    CodeRange range{.scale = scale};
    if (p.x_kind == XKind::kU8Row) {
      const AffineScale affine = affine_scale_avx2(x + k, count);
      range = {affine.scale, affine.zero, 0, 255};
    } else if (p.x_kind == XKind::kS8Row || p.x_kind == XKind::kS8Group) {
      range.scale = scale_of(amax_avx2(x + k, count), 127);
    }
    scaled_codes_avx2(x + k, count, range, values + k);
  }
}

}  // namespace pareto

#pragma GCC pop_options
