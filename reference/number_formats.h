// The small floating-point formats: exact decoding, and encoding from fp64 with one rounding
// (nearest, ties to even).
#pragma once

#include <cstdint>
#include <span>

#include "harness/tensor.h"

namespace pareto {

/// A binary format of `exponent_bits` and `mantissa_bits` below a sign bit.
struct FloatFormat {
  int exponent_bits = 0;
  int mantissa_bits = 0;
  int bias = 0;
  double max_finite = 0;
  bool has_infinity = false;  ///< IEEE specials: all-ones exponent is Inf and NaN
  bool has_nan = false;       ///< E4M3: NaN is S.1111.111 alone; E2M1, E2M3, E3M2 have none
};

inline constexpr FloatFormat kFp32Format{8, 23, 127, 0x1.fffffep127, true, true};
inline constexpr FloatFormat kBf16Format{8, 7, 127, 0x1.fep127, true, true};
inline constexpr FloatFormat kFp16Format{5, 10, 15, 65504, true, true};
inline constexpr FloatFormat kE4m3Format{4, 3, 7, 448, false, true};
inline constexpr FloatFormat kE5m2Format{5, 2, 15, 57344, true, true};
inline constexpr FloatFormat kE2m3Format{2, 3, 1, 7.5, false, false};
inline constexpr FloatFormat kE3m2Format{3, 2, 3, 28, false, false};
inline constexpr FloatFormat kE2m1Format{2, 1, 1, 6, false, false};

/// Value of a code, exactly. Bits above the format's own are ignored.
double decode_float(const FloatFormat& format, std::uint32_t code);

/// Nearest code, ties to even. Beyond the largest finite value: ±Inf where the format has it (as
/// IEEE rounds: from max + half a unit), NaN in E4M3, the largest value in formats without either.
/// NaN gives a quiet NaN (the largest value with its sign where there is none).
std::uint32_t encode_float(const FloatFormat& format, double value);

/// Nearest code of the value clipped to ±max_finite; NaN as in encode_float.
std::uint32_t encode_saturating(const FloatFormat& format, double value);

std::uint16_t to_bf16(double value);
std::uint16_t to_fp16(double value);
double from_bf16(std::uint16_t code);
double from_fp16(std::uint16_t code);
double from_e4m3(std::uint8_t code);
double from_e5m2(std::uint8_t code);

/// 2^(code − 127); 255 is NaN.
double from_e8m0(std::uint8_t code);

/// Stores `value`, rounded, as element i of a tensor of any floating dtype.
void store_rounded(const Tensor& tensor, std::int64_t i, double value);
/// A tensor of any floating dtype that holds `values`, rounded; in parallel where they are many.
HostTensor rounded_tensor(std::span<const float> values, const Shape& shape, DType dtype);

/// Unit roundoff of fp32, bf16, fp16 (2^-24, 2^-8, 2^-11).
double unit_roundoff(DType dtype);
/// Smallest positive normal number of fp32, bf16, fp16.
double smallest_normal(DType dtype);
/// Largest finite number of fp32, bf16, fp16.
double largest_finite(DType dtype);

}  // namespace pareto
