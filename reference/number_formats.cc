#include "reference/number_formats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "harness/errors.h"
#include "reference/parallel_rows.h"

namespace pareto {
namespace {

constexpr int kDoubleBias = 1023;
constexpr int kDoubleMantissa = 52;

// 2^exponent for the normal range of fp64.
double power_of_two(int exponent) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(exponent + kDoubleBias)
                               << kDoubleMantissa);
}

// Nearest integer, ties to even, of 0 ≤ value < 2^51: the addition rounds at the units place.
double round_to_integer(double value) { return (value + 0x1p52) - 0x1p52; }

std::uint32_t all_ones(int bits) { return (1U << bits) - 1U; }

std::uint32_t largest_code(const FloatFormat& format) {
  const std::uint32_t top = all_ones(format.exponent_bits + format.mantissa_bits);
  if (format.has_infinity) return top - (1U << format.mantissa_bits);
  return format.has_nan ? top - 1 : top;
}

std::uint32_t nan_code(const FloatFormat& format) {
  if (!format.has_nan) return largest_code(format);
  const std::uint32_t top = all_ones(format.exponent_bits) << format.mantissa_bits;
  return format.has_infinity ? top | (1U << (format.mantissa_bits - 1))
                             : top | all_ones(format.mantissa_bits);
}

std::uint32_t overflow_code(const FloatFormat& format) {
  if (format.has_infinity) return all_ones(format.exponent_bits) << format.mantissa_bits;
  return nan_code(format);
}

// Code of a finite magnitude, or `overflow` beyond the largest finite value.
std::uint32_t encode_magnitude(const FloatFormat& format, double magnitude,
                               std::uint32_t overflow) {
  const int exponent =
      static_cast<int>(std::bit_cast<std::uint64_t>(magnitude) >> kDoubleMantissa) - kDoubleBias;
  if (exponent > kDoubleBias - 1 || magnitude > 2 * format.max_finite) return overflow;
  const int smallest = 1 - format.bias;
  const bool subnormal = exponent < smallest;
  const int unit = (subnormal ? smallest : exponent) - format.mantissa_bits;
  const double steps = round_to_integer(magnitude * power_of_two(-unit));
  if (steps * power_of_two(unit) > format.max_finite) return overflow;
  const auto digits = static_cast<std::uint32_t>(steps);
  if (subnormal) return digits;  // 2^mantissa_bits is the code of the smallest normal value
  return (static_cast<std::uint32_t>(exponent + format.bias - 1) << format.mantissa_bits) + digits;
}

std::uint32_t encode(const FloatFormat& format, double value, std::uint32_t overflow) {
  const std::uint32_t sign =
      std::signbit(value) ? 1U << (format.exponent_bits + format.mantissa_bits) : 0U;
  if (std::isnan(value)) return sign | nan_code(format);
  return sign | encode_magnitude(format, std::abs(value), overflow);
}

const FloatFormat& format_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return kFp32Format;
    case DType::kBf16:
      return kBf16Format;
    case DType::kF16:
      return kFp16Format;
    case DType::kE4m3:
      return kE4m3Format;
    case DType::kE5m2:
      return kE5m2Format;
    default:
      throw InputError("dtype " + std::string(name_of(dtype)) + " is no floating-point format");
  }
}

}  // namespace

double decode_float(const FloatFormat& format, std::uint32_t code) {
  const std::uint32_t mantissa = code & all_ones(format.mantissa_bits);
  const std::uint32_t exponent = (code >> format.mantissa_bits) & all_ones(format.exponent_bits);
  const bool negative = ((code >> (format.mantissa_bits + format.exponent_bits)) & 1U) != 0;
  double value = 0;
  if (format.has_infinity && exponent == all_ones(format.exponent_bits)) {
    value = mantissa == 0 ? std::numeric_limits<double>::infinity()
                          : std::numeric_limits<double>::quiet_NaN();
  } else if (format.has_nan && !format.has_infinity && exponent == all_ones(format.exponent_bits) &&
             mantissa == all_ones(format.mantissa_bits)) {
    value = std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    value = mantissa * power_of_two(1 - format.bias - format.mantissa_bits);
  } else {
    value = (mantissa + (1U << format.mantissa_bits)) *
            power_of_two(static_cast<int>(exponent) - format.bias - format.mantissa_bits);
  }
  return negative ? -value : value;
}

std::uint32_t encode_float(const FloatFormat& format, double value) {
  return encode(format, value, overflow_code(format));
}

std::uint32_t encode_saturating(const FloatFormat& format, double value) {
  return encode(format, value, largest_code(format));
}

std::uint16_t to_bf16(double value) {
  return static_cast<std::uint16_t>(encode_float(kBf16Format, value));
}
std::uint16_t to_fp16(double value) {
  return static_cast<std::uint16_t>(encode_float(kFp16Format, value));
}
double from_bf16(std::uint16_t code) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16U);
}
double from_fp16(std::uint16_t code) { return decode_float(kFp16Format, code); }
double from_e4m3(std::uint8_t code) { return decode_float(kE4m3Format, code); }
double from_e5m2(std::uint8_t code) { return decode_float(kE5m2Format, code); }

double from_e8m0(std::uint8_t code) {
  return code == 255 ? std::numeric_limits<double>::quiet_NaN() : power_of_two(code - 127);
}

void store_rounded(const Tensor& tensor, std::int64_t i, double value) {
  if (tensor.dtype == DType::kF64) {
    std::memcpy(tensor.data + i * 8, &value, sizeof(value));
  } else if (tensor.dtype == DType::kF32) {
    const auto rounded = static_cast<float>(value);
    std::memcpy(tensor.data + i * 4, &rounded, sizeof(rounded));
  } else {
    const std::uint32_t code = encode_float(format_of(tensor.dtype), value);
    // Little-endian: the low bytes of the code are the element.
    std::memcpy(tensor.data + i * static_cast<std::int64_t>(size_of(tensor.dtype)), &code,
                size_of(tensor.dtype));
  }
}

HostTensor rounded_tensor(std::span<const float> values, const Shape& shape, DType dtype) {
  HostTensor result(dtype, shape);
  if (dtype == DType::kF32) {
    std::copy(values.begin(), values.end(), result.span<float>().begin());
    return result;
  }
  const Tensor view = result.view();
  const auto count = static_cast<std::int64_t>(values.size());
  parallel_rows(count, threads_for(count), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      store_rounded(view, i, static_cast<double>(values[static_cast<std::size_t>(i)]));
    }
  });
  return result;
}

double unit_roundoff(DType dtype) {
  return dtype == DType::kF64 ? 0x1p-53 : power_of_two(-1 - format_of(dtype).mantissa_bits);
}

double smallest_normal(DType dtype) {
  return dtype == DType::kF64 ? std::numeric_limits<double>::min()
                              : power_of_two(1 - format_of(dtype).bias);
}

double largest_finite(DType dtype) {
  return dtype == DType::kF64 ? std::numeric_limits<double>::max() : format_of(dtype).max_finite;
}

}  // namespace pareto
