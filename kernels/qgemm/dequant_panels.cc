#include "kernels/qgemm/dequant_panels.h"

#include <cstring>

#include "reference/block_q4_k.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

constexpr std::int64_t kColumns = 32;

std::uint8_t nibble(const std::uint8_t* row, std::int64_t k) {
  return k % 2 == 0 ? row[k / 2] & 15U : row[k / 2] >> 4U;
}

std::uint8_t sextet(const std::uint8_t* row, std::int64_t k) {
  const std::uint8_t* bytes = row + k / 4 * 3;
  const std::uint32_t word = bytes[0] | static_cast<std::uint32_t>(bytes[1]) << 8U |
                             static_cast<std::uint32_t>(bytes[2]) << 16U;
  return word >> (6 * (k % 4)) & 63U;
}

float fp16_at(const std::uint8_t* bytes) {
  std::uint16_t code = 0;
  std::memcpy(&code, bytes, sizeof(code));
  return static_cast<float>(from_fp16(code));
}

}  // namespace

std::uint8_t stored_code(WKind kind, const std::uint8_t* row, std::int64_t k) {
  switch (kind) {
    case WKind::kInt4:
    case WKind::kInt4Asym:
    case WKind::kNf4:
    case WKind::kMxfp4:
    case WKind::kNvfp4:
      return nibble(row, k);
    case WKind::kQ8Block:
      return row[k / 32 * 34 + 2 + k % 32];
    case WKind::kQ4Block: {
      const std::uint8_t byte = row[k / 32 * 18 + 2 + k % 16];
      return k % 32 < 16 ? byte & 15U : byte >> 4U;
    }
    case WKind::kQ4kBlock:
      return q4k_code(row + k / kQ4kBlock * kQ4kBytes + 16, static_cast<int>(k % kQ4kBlock));
    case WKind::kMxfp6E2m3:
    case WKind::kMxfp6E3m2:
      return sextet(row, k);
    default:
      return row[k];
  }
}

Affine affine_of(const QgemmProblem& p, std::span<const Tensor> in, std::int64_t n,
                 std::int64_t g) {
  const std::uint8_t* row = in[kQgemmW].as<std::uint8_t>() + n * p.w_row_bytes();
  const Tensor& scales = in[kQgemmWScale];
  const std::int64_t i = n * p.w_groups() + g;
  switch (p.w_kind) {
    case WKind::kInt4Asym: {
      const auto scale = static_cast<float>(value_at(scales, i));
      return {scale, -scale * static_cast<float>(in[kQgemmWZero].as<std::uint8_t>()[i])};
    }
    case WKind::kQ8Block:
      return {fp16_at(row + g * 34), 0};
    case WKind::kQ4Block:
      return {fp16_at(row + g * 18), 0};
    case WKind::kQ4kBlock: {
      const std::uint8_t* block = row + g / 8 * kQ4kBytes;
      const Q4kScale part = q4k_scale(block + 4, static_cast<int>(g % 8));
      return {fp16_at(block) * static_cast<float>(part.sc),
              -fp16_at(block + 2) * static_cast<float>(part.mn)};
    }
    case WKind::kMxfp4:
    case WKind::kMxfp6E2m3:
    case WKind::kMxfp6E3m2:
    case WKind::kMxfp8:
      return {static_cast<float>(from_e8m0(scales.as<std::uint8_t>()[i])), 0};
    case WKind::kFp8Block:
      return {scales.as<float>()[n / 128 * p.w_groups() + g], 0};
    default:
      return {static_cast<float>(value_at(scales, i)), 0};
  }
}

namespace {

void put_row(const QgemmProblem& p, std::span<const Tensor> in, const DequantFormat& format,
             std::int64_t n, std::byte* panel) {
  const std::uint8_t* row = in[kQgemmW].as<std::uint8_t>() + n * p.w_row_bytes();
  const std::int64_t j = n % kColumns;
  for (std::int64_t k = 0; k < p.K; ++k) {
    const auto code = static_cast<std::byte>(stored_code(p.w_kind, row, k));
    const std::int64_t within = k % format.group;
    std::byte* step = panel + k / format.group * format.step_bytes();
    if (is_nibble(format.codes)) {
      step[within / 2 * kColumns + j] |= within % 2 == 0 ? code : code << 4;
    } else {
      step[within * kColumns + j] = code;
    }
    if (within != 0 || !format.scaled) continue;
    const Affine affine = affine_of(p, in, n, k / format.group);
    auto* scales = reinterpret_cast<float*>(step + format.code_bytes());
    scales[j] = affine.scale;
    if (format.offset) scales[kColumns + j] = affine.offset;
  }
}

}  // namespace

DequantFormat dequant_format(const QgemmProblem& p) {
  const auto group = static_cast<int>(p.w_group);
  switch (p.w_kind) {
    case WKind::kInt4Asym:
    case WKind::kQ4kBlock:
      return {CodeKind::kUInt4, group, true, true};
    case WKind::kQ8Block:
      return {CodeKind::kS8, group, true, false};
    case WKind::kNf4:
      return {CodeKind::kNf4, group, true, false};
    case WKind::kMxfp4:
    case WKind::kNvfp4:
      return {CodeKind::kE2m1, group, true, false};
    case WKind::kMxfp6E2m3:
      return {CodeKind::kE2m3, group, true, false};
    case WKind::kMxfp6E3m2:
      return {CodeKind::kE3m2, group, true, false};
    case WKind::kFp8Row:
      return {p.fp8_dtype == DType::kE5m2 ? CodeKind::kE5m2 : CodeKind::kE4m3, 32, false, false};
    case WKind::kFp8Block:
    case WKind::kMxfp8:
      return {CodeKind::kE4m3, group, true, false};
    default:
      return {CodeKind::kInt4, group, true, false};
  }
}

int dequant_roundings(const QgemmProblem& p) {
  const bool rounds =
      p.w_kind == WKind::kQ4kBlock || p.w_kind == WKind::kNf4 || p.w_kind == WKind::kFp8Block;
  return rounds ? 1 : 0;
}

int dequant_epilogue_roundings(const QgemmProblem& p) {
  if (p.w_kind == WKind::kFp8Row || p.w_kind == WKind::kNvfp4) return 2;
  return p.has_bias ? 1 : 0;
}

void pack_dequant_panels(const QgemmProblem& p, std::span<const Tensor> in,
                         const DequantFormat& format, std::int64_t panel_bytes, std::byte* panels,
                         ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(p.N, thread, threads, kColumns);
    for (std::int64_t n = begin; n < end; ++n) {
      put_row(p, in, format, n, panels + n / kColumns * panel_bytes);
    }
  });
}

}  // namespace pareto
