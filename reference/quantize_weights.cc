#include "reference/quantize_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "harness/errors.h"
#include "reference/number_formats.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

// clip(rint(value / scale) + zero, lo, hi), the code of value 0 where the scale is 0 as stored.
int affine_code(double value, double scale, int zero, int lo, int hi) {
  if (scale == 0) return std::clamp(zero, lo, hi);
  // Beyond ±1024 the result is clipped whatever the zero point.
  const double steps = std::nearbyint(std::clamp(value / scale, -1024.0, 1024.0));
  return std::clamp(static_cast<int>(steps) + zero, lo, hi);
}

void put_nibble(std::span<std::uint8_t> bytes, std::size_t k, int code) {
  std::uint8_t& byte = bytes[k / 2];
  byte = static_cast<std::uint8_t>(k % 2 == 0 ? (byte & 0xf0) | code : (byte & 0x0f) | code << 4);
}

void put_sextet(std::span<std::uint8_t> bytes, std::size_t k, std::uint32_t code) {
  const std::size_t bit = 6 * k;
  bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] | code << bit % 8);
  if (bit % 8 > 2) {
    bytes[bit / 8 + 1] = static_cast<std::uint8_t>(bytes[bit / 8 + 1] | code >> (8 - bit % 8));
  }
}

std::size_t groups_of(const QgemmProblem& problem) {
  return static_cast<std::size_t>(problem.w_groups());
}

std::span<const float> group_of(const QgemmProblem& problem, std::span<const float> w,
                                std::size_t g) {
  const auto size = static_cast<std::size_t>(problem.w_group);
  const std::size_t begin = g * size;
  return w.subspan(begin, std::min(size, w.size() - begin));
}

struct Range {
  double lo = 0;
  double hi = 0;
};
// Range of a group, widened to 0.
Range range_of(std::span<const float> group) {
  Range range;
  for (const float value : group) {
    range.lo = std::min<double>(range.lo, value);
    range.hi = std::max<double>(range.hi, value);
  }
  return range;
}

void quantize_int4(const QgemmProblem& problem, std::span<const float> w, std::int64_t n,
                   const QuantizedRow& row) {
  const bool asymmetric = problem.w_kind == WKind::kInt4Asym;
  for (std::size_t g = 0; g < groups_of(problem); ++g) {
    const std::span<const float> group = group_of(problem, w, g);
    const Range range = range_of(group);
    const double spread =
        asymmetric ? range.hi - range.lo : 2 * static_cast<double>(amax_of(group));
    row.scale16[g] =
        spread == 0 ? to_fp16(1) : checked_fp16(spread / 15, n, static_cast<std::int64_t>(g));
    const double scale = from_fp16(row.scale16[g]);
    int zero = 8;
    if (asymmetric) {
      zero = affine_code(-range.lo, scale, 0, 0, 15);
      row.zero[g] = static_cast<std::uint8_t>(zero);
    }
    const std::size_t begin = g * static_cast<std::size_t>(problem.w_group);
    for (std::size_t i = 0; i < group.size(); ++i) {
      put_nibble(row.codes, begin + i, affine_code(group[i], scale, zero, 0, 15));
    }
  }
  if (w.size() % 2 == 1) put_nibble(row.codes, w.size(), asymmetric ? 0 : 8);
}

// Distances to the table's entries, in fp64; of two equal ones the lower index.
int nearest_nf4(double value) {
  int best = 0;
  for (int i = 1; i < 16; ++i) {
    if (std::abs(value - kNf4Table[i]) < std::abs(value - kNf4Table[best])) best = i;
  }
  return best;
}

constexpr int kNf4Zero = 7;

void quantize_nf4(const QgemmProblem& problem, std::span<const float> w, const QuantizedRow& row) {
  for (std::size_t g = 0; g < groups_of(problem); ++g) {
    const std::span<const float> group = group_of(problem, w, g);
    const double absmax = scale_of(amax_of(group), 1);
    row.scale32[g] = static_cast<float>(absmax);
    const std::size_t begin = g * static_cast<std::size_t>(problem.w_group);
    for (std::size_t i = 0; i < group.size(); ++i) {
      put_nibble(row.codes, begin + i, nearest_nf4(group[i] / absmax));
    }
  }
  if (w.size() % 2 == 1) put_nibble(row.codes, w.size(), kNf4Zero);
}

struct MxFormat {
  FloatFormat format;
  int emax;
};
MxFormat mx_format_of(WKind kind) {
  switch (kind) {
    case WKind::kMxfp6E2m3:
      return {kE2m3Format, 2};
    case WKind::kMxfp6E3m2:
      return {kE3m2Format, 4};
    default:
      return {kE2m1Format, 2};
  }
}

void quantize_mx(const QgemmProblem& problem, std::span<const float> w, const QuantizedRow& row) {
  const MxFormat mx = mx_format_of(problem.w_kind);
  for (std::size_t g = 0; g < groups_of(problem); ++g) {
    const std::span<const float> group = group_of(problem, w, g);
    row.scale8[g] = mx_scale_of(amax_of(group), mx.emax);
    const double scale = from_e8m0(row.scale8[g]);
    const std::size_t begin = g * static_cast<std::size_t>(problem.w_group);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const std::uint32_t code = encode_saturating(mx.format, group[i] / scale);
      if (problem.w_kind == WKind::kMxfp4) {
        put_nibble(row.codes, begin + i, static_cast<int>(code));
      } else {
        put_sextet(row.codes, begin + i, code);
      }
    }
  }
}

void quantize_nvfp4(const QgemmProblem& problem, std::span<const float> w, float tensor_scale,
                    const QuantizedRow& row) {
  for (std::size_t g = 0; g < groups_of(problem); ++g) {
    const std::span<const float> group = group_of(problem, w, g);
    const float amax = amax_of(group);
    const double divisor = 6 * static_cast<double>(tensor_scale);
    const double wanted = amax == 0 ? 1 : divisor == 0 ? 0 : amax / divisor;
    row.scale8[g] = static_cast<std::uint8_t>(encode_saturating(kE4m3Format, wanted));
    const double scale = from_e4m3(row.scale8[g]) * tensor_scale;
    const std::size_t begin = g * static_cast<std::size_t>(problem.w_group);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const std::uint32_t code = scale == 0 ? 0 : encode_saturating(kE2m1Format, group[i] / scale);
      put_nibble(row.codes, begin + i, static_cast<int>(code));
    }
  }
}

void quantize_fp8_block(const QgemmProblem& problem, std::span<const float> w,
                        std::span<const float> scales, const QuantizedRow& row) {
  for (std::size_t g = 0; g < groups_of(problem); ++g) {
    quantize_fp8(group_of(problem, w, g), scales[g], DType::kE4m3,
                 row.codes.data() + g * static_cast<std::size_t>(problem.w_group));
  }
}

void quantize_s8_row(const QgemmProblem& problem, std::span<const float> w, float tensor_scale,
                     const QuantizedRow& row) {
  auto* codes = reinterpret_cast<std::int8_t*>(row.codes.data());
  if (problem.scheme->x == XKind::kS8Tensor) {
    quantize_s8(w, tensor_scale, codes);
    row.scale32[0] = tensor_scale;
  } else {
    row.scale32[0] = quantize_row_s8(w, codes);
  }
}

}  // namespace

std::uint16_t checked_fp16(double scale, std::int64_t n, std::int64_t group) {
  const std::uint16_t code = to_fp16(scale);
  if (std::isfinite(from_fp16(code))) return code;
  throw InputError(fmt::format(
      "w: the scale {} of row {}, group {} overflows fp16, whose largest value is 65504", scale, n,
      group));
}

void quantize_w_row(const QgemmProblem& problem, std::span<const float> w, std::int64_t n,
                    const SharedScales& shared, const QuantizedRow& row) {
  switch (problem.w_kind) {
    case WKind::kFloat:
      return;
    case WKind::kS8:
      return quantize_s8_row(problem, w, shared.tensor, row);
    case WKind::kInt4:
    case WKind::kInt4Asym:
      return quantize_int4(problem, w, n, row);
    case WKind::kQ8Block:
    case WKind::kQ4Block:
    case WKind::kQ4kBlock:
      return quantize_blocks(problem, w, n, row.codes.data());
    case WKind::kNf4:
      return quantize_nf4(problem, w, row);
    case WKind::kMxfp4:
    case WKind::kMxfp6E2m3:
    case WKind::kMxfp6E3m2:
      return quantize_mx(problem, w, row);
    case WKind::kNvfp4:
      return quantize_nvfp4(problem, w, shared.tensor, row);
    case WKind::kFp8Row:
      row.scale32[0] = quantize_row_fp8(w, problem.fp8_dtype, row.codes.data());
      return;
    case WKind::kFp8Block:
      return quantize_fp8_block(problem, w, shared.block, row);
    case WKind::kMxfp8:
      return quantize_row_mxfp8(w, problem.w_group, row.codes.data(), row.scale8.data());
  }
}

}  // namespace pareto
