#include "reference/qgemm_operands.h"

#include <algorithm>
#include <array>
#include <vector>

#include "reference/block_q4_k.h"
#include "reference/number_formats.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

// All 256 values of a format, for speed alone.
std::array<double, 256> table_of(const FloatFormat& format) {
  std::array<double, 256> table{};
  for (std::uint32_t code = 0; code < table.size(); ++code) {
    table[code] = decode_float(format, code);
  }
  return table;
}
const std::array<double, 256> kE4m3Values = table_of(kE4m3Format);
const std::array<double, 256> kE5m2Values = table_of(kE5m2Format);
const std::array<double, 256> kE2m3Values = table_of(kE2m3Format);
const std::array<double, 256> kE3m2Values = table_of(kE3m2Format);
const std::array<double, 256> kE2m1Values = table_of(kE2m1Format);

const std::uint8_t* row_bytes(const QgemmProblem& problem, std::span<const Tensor> in,
                              std::int64_t n) {
  return in[kQgemmW].as<std::uint8_t>() + n * problem.w_row_bytes();
}

int nibble(const std::uint8_t* row, std::int64_t k) {
  return k % 2 == 0 ? row[k / 2] & 15 : row[k / 2] >> 4;
}

std::uint32_t sextet(const std::uint8_t* row, std::int64_t k) {
  const std::uint8_t* bytes = row + k / 4 * 3;
  const std::uint32_t word = bytes[0] | bytes[1] << 8U | bytes[2] << 16U;
  return word >> (6 * (k % 4)) & 63U;
}

double fp16_at(const std::uint8_t* bytes) {
  return from_fp16(static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8U));
}

// Scale of group g of row n, for layouts that keep it in slot w_scale (blocks: from the block).
double w_scale(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
               std::int64_t g) {
  const std::uint8_t* row = row_bytes(problem, in, n);
  const Tensor& scales = in[kQgemmWScale];
  const std::int64_t grouped = n * problem.w_groups() + g;
  switch (problem.w_kind) {
    case WKind::kFloat:
      return 1;
    case WKind::kS8:
    case WKind::kFp8Row:
      return value_at(scales, n);
    case WKind::kFp8Block:
      return value_at(scales, n / 128 * problem.w_groups() + g);
    case WKind::kQ8Block:
      return fp16_at(row + g * 34);
    case WKind::kQ4Block:
      return fp16_at(row + g * 18);
    case WKind::kQ4kBlock: {
      const std::uint8_t* block = row + g / 8 * kQ4kBytes;
      return fp16_at(block) * q4k_scale(block + 4, static_cast<int>(g % 8)).sc;
    }
    case WKind::kMxfp4:
    case WKind::kMxfp6E2m3:
    case WKind::kMxfp6E3m2:
    case WKind::kMxfp8:
      return from_e8m0(scales.as<std::uint8_t>()[grouped]);
    case WKind::kNvfp4:
      return value_at(scales, grouped) * value_at(in[kQgemmWTensorScale], 0);
    default:
      return value_at(scales, grouped);
  }
}

// dmin·mn of sub-block g under q4_k, 0 elsewhere.
double w_offset(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
                std::int64_t g) {
  if (problem.w_kind != WKind::kQ4kBlock) return 0;
  const std::uint8_t* block = row_bytes(problem, in, n) + g / 8 * kQ4kBytes;
  return fp16_at(block + 2) * q4k_scale(block + 4, static_cast<int>(g % 8)).mn;
}

// Code of element k as a number, its zero point taken off.
double w_code(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
              std::int64_t k, const std::uint8_t* row) {
  switch (problem.w_kind) {
    case WKind::kFloat:
      return value_at(in[kQgemmW], n * problem.K + k);
    case WKind::kS8:
      return static_cast<std::int8_t>(row[k]);
    case WKind::kInt4:
      return nibble(row, k) - 8;
    case WKind::kInt4Asym: {
      const std::int64_t group = n * problem.w_groups() + k / problem.w_group;
      return nibble(row, k) - in[kQgemmWZero].as<std::uint8_t>()[group];
    }
    case WKind::kQ8Block:
      return static_cast<std::int8_t>(row[k / 32 * 34 + 2 + k % 32]);
    case WKind::kQ4Block: {
      const std::uint8_t byte = row[k / 32 * 18 + 2 + k % 16];
      return (k % 32 < 16 ? byte & 15 : byte >> 4) - 8;
    }
    case WKind::kQ4kBlock:
      return q4k_code(row + k / kQ4kBlock * kQ4kBytes + 16, static_cast<int>(k % kQ4kBlock));
    case WKind::kNf4:
      return kNf4Table[nibble(row, k)];
    case WKind::kMxfp4:
    case WKind::kNvfp4:
      return kE2m1Values[static_cast<std::size_t>(nibble(row, k))];
    case WKind::kMxfp6E2m3:
      return kE2m3Values[sextet(row, k)];
    case WKind::kMxfp6E3m2:
      return kE3m2Values[sextet(row, k)];
    case WKind::kFp8Row:
      return problem.fp8_dtype == DType::kE5m2 ? kE5m2Values[row[k]] : kE4m3Values[row[k]];
    case WKind::kFp8Block:
    case WKind::kMxfp8:
      return kE4m3Values[row[k]];
  }
  return 0;
}

// Calls body(k, code, scale, offset) for the whole row.
template <typename Body>
void for_w_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
               const Body& body) {
  const std::uint8_t* row = row_bytes(problem, in, n);
  for (std::int64_t g = 0; g < problem.w_groups(); ++g) {
    const double scale = w_scale(problem, in, n, g);
    const double offset = w_offset(problem, in, n, g);
    const std::int64_t end = std::min(problem.K, (g + 1) * problem.w_group);
    for (std::int64_t k = g * problem.w_group; k < end; ++k) {
      body(k, w_code(problem, in, n, k, row), scale, offset);
    }
  }
}

std::span<const float> x_row(const QgemmProblem& problem, std::span<const Tensor> in,
                             std::int64_t m) {
  return {in[kQgemmX].as<float>() + m * problem.K, static_cast<std::size_t>(problem.K)};
}

void decode_fp8_x(const QgemmProblem& problem, std::span<const float> x, double* row) {
  std::vector<std::uint8_t> codes(x.size());
  if (problem.x_kind == XKind::kMxfp8) {
    std::vector<std::uint8_t> scales(static_cast<std::size_t>(problem.x_groups()));
    quantize_row_mxfp8(x, problem.x_group, codes.data(), scales.data());
    for (std::size_t k = 0; k < x.size(); ++k) {
      row[k] =
          kE4m3Values[codes[k]] * from_e8m0(scales[k / static_cast<std::size_t>(problem.x_group)]);
    }
    return;
  }
  const auto& values = problem.fp8_dtype == DType::kE5m2 ? kE5m2Values : kE4m3Values;
  std::vector<float> scales(
      static_cast<std::size_t>(std::max<std::int64_t>(problem.x_groups(), 1)));
  if (problem.x_kind == XKind::kFp8Row) {
    scales[0] = quantize_row_fp8(x, problem.fp8_dtype, codes.data());
  } else {
    quantize_row_fp8_groups(x, problem.x_group, codes.data(), scales.data());
  }
  for (std::size_t k = 0; k < x.size(); ++k) {
    row[k] = values[codes[k]] * scales[k / static_cast<std::size_t>(problem.x_group)];
  }
}

}  // namespace

void decode_w_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
                  double* row) {
  for_w_row(problem, in, n, [&](std::int64_t k, double code, double scale, double offset) {
    row[k] = code * scale - offset;
  });
}

void dequantize_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
                    float* row) {
  for_w_row(problem, in, n, [&](std::int64_t k, double code, double scale, double offset) {
    row[k] = static_cast<float>(code * scale - offset);
  });
}

void w_offsets(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
               double* offsets) {
  for (std::int64_t g = 0; g < problem.w_groups(); ++g) offsets[g] = w_offset(problem, in, n, g);
}

void decode_x_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t m,
                  float tensor_scale, double* row) {
  if (problem.integer_products()) {
    std::vector<std::int32_t> codes(static_cast<std::size_t>(problem.K));
    std::vector<float> scales(static_cast<std::size_t>(problem.x_groups()));
    std::int32_t zero = 0;
    quantize_x_row(problem, in, m, tensor_scale, codes.data(), scales.data(), &zero);
    for (std::int64_t k = 0; k < problem.K; ++k) {
      // A zero point may lie anywhere in int32.
      const std::int64_t steps = std::int64_t{codes[static_cast<std::size_t>(k)]} - zero;
      row[k] = static_cast<double>(steps) * scales[static_cast<std::size_t>(k / problem.x_group)];
    }
  } else if (problem.x_kind == XKind::kFloat) {
    for (std::int64_t k = 0; k < problem.K; ++k) {
      row[k] = value_at(in[kQgemmX], m * problem.K + k);
    }
  } else {
    decode_fp8_x(problem, x_row(problem, in, m), row);
  }
}

float x_tensor_scale(const QgemmProblem& problem, std::span<const Tensor> in) {
  if (problem.x_kind == XKind::kS8Static) return in[kQgemmXScale].as<float>()[0];
  if (problem.x_kind != XKind::kS8Tensor) return 1;
  return scale_of(amax_of(in[kQgemmX].span<const float>()), 127);
}

void x_row_scales(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t m,
                  double* scales) {
  const auto groups = static_cast<std::size_t>(problem.x_groups());
  std::fill_n(scales, groups, 1.0);
  if (groups == 0 || problem.x_kind == XKind::kFloat) return;
  if (problem.integer_products()) {
    std::vector<std::int32_t> codes(static_cast<std::size_t>(problem.K));
    std::vector<float> row(groups);
    std::int32_t zero = 0;
    quantize_x_row(problem, in, m, x_tensor_scale(problem, in), codes.data(), row.data(), &zero);
    std::copy(row.begin(), row.end(), scales);
    return;
  }
  const std::span<const float> x = x_row(problem, in, m);
  const double divisor = problem.fp8_dtype == DType::kE5m2 ? 57344 : 448;
  for (std::size_t g = 0; g < groups; ++g) {
    const auto begin = g * static_cast<std::size_t>(problem.x_group);
    const auto count = std::min(static_cast<std::size_t>(problem.x_group), x.size() - begin);
    const float amax = amax_of(x.subspan(begin, count));
    scales[g] =
        problem.x_kind == XKind::kMxfp8 ? from_e8m0(mx_scale_of(amax, 8)) : scale_of(amax, divisor);
  }
}

void quantize_x_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t m,
                    float tensor_scale, std::int32_t* codes, float* scales, std::int32_t* zero) {
  *zero = 0;
  if (problem.K == 0) return;
  if (problem.x_kind == XKind::kInteger) {
    for (std::int64_t k = 0; k < problem.K; ++k) {
      codes[k] = static_cast<std::int32_t>(value_at(in[kQgemmX], m * problem.K + k));
    }
    scales[0] = in[kQgemmXScale].as<float>()[m];
    if (problem.has_x_zero) *zero = in[kQgemmXZero].as<std::int32_t>()[m];
    return;
  }
  const std::span<const float> x = x_row(problem, in, m);
  std::vector<std::int8_t> signed_codes(x.size());
  if (problem.x_kind == XKind::kU8Row) {
    std::vector<std::uint8_t> unsigned_codes(x.size());
    const AffineScale affine = quantize_row_u8(x, unsigned_codes.data());
    scales[0] = affine.scale;
    *zero = affine.zero;
    std::copy(unsigned_codes.begin(), unsigned_codes.end(), codes);
    return;
  }
  if (problem.x_kind == XKind::kS8Group) {
    quantize_row_s8_groups(x, problem.x_group, signed_codes.data(), scales);
  } else if (problem.x_kind == XKind::kS8Row) {
    scales[0] = quantize_row_s8(x, signed_codes.data());
  } else {
    scales[0] = tensor_scale;
    quantize_s8(x, tensor_scale, signed_codes.data());
  }
  std::copy(signed_codes.begin(), signed_codes.end(), codes);
}

void integer_w_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
                   std::int32_t* codes, float* scales, float* offsets) {
  const std::uint8_t* row = row_bytes(problem, in, n);
  for (std::int64_t k = 0; k < problem.K; ++k) {
    codes[k] = static_cast<std::int32_t>(w_code(problem, in, n, k, row));
  }
  for (std::int64_t g = 0; g < problem.w_groups(); ++g) {
    scales[g] = static_cast<float>(w_scale(problem, in, n, g));
    offsets[g] = static_cast<float>(w_offset(problem, in, n, g));
  }
}

}  // namespace pareto
