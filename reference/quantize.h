// Dynamic quantization of x, row by row, to the very codes that eval.md prescribes: every quotient
// in fp64 of the value and the scale as stored, rounded once (nearest, ties to even). Portable;
// kernels that do it faster must give the same codes.
#pragma once

#include <cstdint>
#include <span>

#include "harness/tensor.h"

namespace pareto {

/// Largest magnitude of a row; 0 for an empty one. NaN counts as 0: quantizing schemes refuse
/// non-finite operands before they come here.
float amax_of(std::span<const float> row);

/// fp32(amax / divisor), 1 where amax is 0. Divisors: 127 (s8), 448 (E4M3), 57344 (E5M2).
float scale_of(float amax, double divisor);

/// q[i] = clip(rint(x[i]/scale), ±127); code 0 where scale is 0.
void quantize_s8(std::span<const float> x, float scale, std::int8_t* q);

/// One row with its own scale amax/127; returns the scale.
float quantize_row_s8(std::span<const float> x, std::int8_t* q);

/// One scale per group of `group` elements (the last may be short): ⌈size/group⌉ scales.
void quantize_row_s8_groups(std::span<const float> x, std::int64_t group, std::int8_t* q,
                            float* scales);

/// value = (q − zero)·scale
struct AffineScale {
  float scale = 1;
  std::int32_t zero = 0;
};
/// One row as u8 with zero point (scheme w8a8_asym).
AffineScale quantize_row_u8(std::span<const float> x, std::uint8_t* q);

/// Codes of x/scale in E4M3 or E5M2, saturating at 448 or 57344; code 0 where scale is 0.
void quantize_fp8(std::span<const float> x, float scale, DType fp8, std::uint8_t* q);

/// One row with its own fp32 scale; returns the scale.
float quantize_row_fp8(std::span<const float> x, DType fp8, std::uint8_t* q);

/// E4M3 with one fp32 scale per group.
void quantize_row_fp8_groups(std::span<const float> x, std::int64_t group, std::uint8_t* q,
                             float* scales);

/// E4M3 with one E8M0 scale (exponent + 127) per group.
void quantize_row_mxfp8(std::span<const float> x, std::int64_t group, std::uint8_t* q,
                        std::uint8_t* scales);

/// E8M0 byte of a group: clip(⌊log2 amax⌋ − emax, −127, 127) + 127; 127 (a scale of 1) for amax 0.
std::uint8_t mx_scale_of(float amax, int emax);

}  // namespace pareto
