#include "reference/quantize.h"

#include <algorithm>
#include <cmath>

#include "reference/number_formats.h"

namespace pareto {
namespace {

// rint(value) for |value| < 2^51, ties to even: the sum rounds at the units place.
double rint_even(double value) { return (value + 0x1.8p52) - 0x1.8p52; }

const FloatFormat& format_of_codes(DType fp8) {
  return fp8 == DType::kE5m2 ? kE5m2Format : kE4m3Format;
}

void quantize_to_format(std::span<const float> x, double scale, const FloatFormat& format,
                        std::uint8_t* q) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    q[i] = scale == 0 ? 0 : static_cast<std::uint8_t>(encode_saturating(format, x[i] / scale));
  }
}

// Calls body(first element, count, group number) for every group of a row.
template <typename Body>
void for_groups(std::size_t size, std::int64_t group, const Body& body) {
  const auto step = static_cast<std::size_t>(group);
  for (std::size_t begin = 0; begin < size; begin += step) {
    body(begin, std::min(step, size - begin), begin / step);
  }
}

}  // namespace

float amax_of(std::span<const float> row) {
  float amax = 0;
  for (const float value : row) amax = std::max(amax, std::abs(value));
  return amax;
}

float scale_of(float amax, double divisor) {
  return amax == 0 ? 1.0F : static_cast<float>(amax / divisor);
}

void quantize_s8(std::span<const float> x, float scale, std::int8_t* q) {
  const double divisor = scale;
  for (std::size_t i = 0; i < x.size(); ++i) {
    // Clipping first changes nothing: ±127 are whole numbers.
    q[i] = divisor == 0
               ? std::int8_t{0}
               : static_cast<std::int8_t>(rint_even(std::clamp(x[i] / divisor, -127.0, 127.0)));
  }
}

float quantize_row_s8(std::span<const float> x, std::int8_t* q) {
  const float scale = scale_of(amax_of(x), 127);
  quantize_s8(x, scale, q);
  return scale;
}

void quantize_row_s8_groups(std::span<const float> x, std::int64_t group, std::int8_t* q,
                            float* scales) {
  for_groups(x.size(), group, [&](std::size_t begin, std::size_t count, std::size_t g) {
    scales[g] = quantize_row_s8(x.subspan(begin, count), q + begin);
  });
}

AffineScale quantize_row_u8(std::span<const float> x, std::uint8_t* q) {
  double lo = 0;
  double hi = 0;
  for (const float value : x) {
    lo = std::min<double>(lo, value);
    hi = std::max<double>(hi, value);
  }
  AffineScale result;
  if (hi > lo) result.scale = static_cast<float>((hi - lo) / 255);
  const double divisor = result.scale;
  if (divisor == 0) {
    std::fill(q, q + x.size(), std::uint8_t{0});
    return result;
  }
  result.zero = static_cast<std::int32_t>(rint_even(std::clamp(-lo / divisor, 0.0, 255.0)));
  for (std::size_t i = 0; i < x.size(); ++i) {
    // |quotient| beyond 512 is clipped in any case, whatever the zero point.
    const double steps = rint_even(std::clamp(x[i] / divisor, -512.0, 512.0));
    q[i] = static_cast<std::uint8_t>(std::clamp(steps + result.zero, 0.0, 255.0));
  }
  return result;
}

void quantize_fp8(std::span<const float> x, float scale, DType fp8, std::uint8_t* q) {
  quantize_to_format(x, scale, format_of_codes(fp8), q);
}

float quantize_row_fp8(std::span<const float> x, DType fp8, std::uint8_t* q) {
  const float scale = scale_of(amax_of(x), format_of_codes(fp8).max_finite);
  quantize_fp8(x, scale, fp8, q);
  return scale;
}

void quantize_row_fp8_groups(std::span<const float> x, std::int64_t group, std::uint8_t* q,
                             float* scales) {
  for_groups(x.size(), group, [&](std::size_t begin, std::size_t count, std::size_t g) {
    scales[g] = quantize_row_fp8(x.subspan(begin, count), DType::kE4m3, q + begin);
  });
}

std::uint8_t mx_scale_of(float amax, int emax) {
  if (amax == 0) return 127;
  return static_cast<std::uint8_t>(std::clamp(std::ilogb(amax) - emax, -127, 127) + 127);
}

void quantize_row_mxfp8(std::span<const float> x, std::int64_t group, std::uint8_t* q,
                        std::uint8_t* scales) {
  for_groups(x.size(), group, [&](std::size_t begin, std::size_t count, std::size_t g) {
    const std::span<const float> part = x.subspan(begin, count);
    scales[g] = mx_scale_of(amax_of(part), 8);
    quantize_to_format(part, from_e8m0(scales[g]), kE4m3Format, q + begin);
  });
}

}  // namespace pareto
