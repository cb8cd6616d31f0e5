#include "kernels/qgemm/coded_panels.h"

#include <cstring>

#include "kernels/qgemm/dequant_panels.h"
#include "reference/block_q4_k.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

constexpr std::int64_t kColumns = 32;

template <typename T>
void put(std::byte* array, std::int64_t j, T value) {
  std::memcpy(array + j * static_cast<std::int64_t>(sizeof(T)), &value, sizeof(T));
}

// Small floats as sign (bit 7) and magnitude.
std::uint8_t sign_on_top(WKind kind, std::uint8_t code) {
  if (kind != WKind::kMxfp6E2m3 && kind != WKind::kMxfp6E3m2) return code;
  return static_cast<std::uint8_t>((code & 31U) | (code & 32U) << 2U);
}

void put_scale(ScaleKind kind, float scale, std::int64_t j, std::byte* scales) {
  switch (kind) {
    case ScaleKind::kNone:
      return;
    case ScaleKind::kF16:
      return put(scales, j, to_fp16(scale));
    case ScaleKind::kBf16:
      return put(scales, j, to_bf16(scale));
    case ScaleKind::kF32:
      return put(scales, j, scale);
    case ScaleKind::kPanel:
      return put(scales, 0, scale);
  }
}

// What belongs to group g of row n besides its scale.
void put_columns(const QgemmProblem& p, std::span<const Tensor> in, ColumnKind kind, std::int64_t n,
                 std::int64_t g, std::byte* columns) {
  const std::int64_t j = n % kColumns;
  if (kind == ColumnKind::kNone) return;
  if (kind == ColumnKind::kQ4k) {
    const std::uint8_t* block =
        in[kQgemmW].as<std::uint8_t>() + n * p.w_row_bytes() + g / 8 * kQ4kBytes;
    const Q4kScale part = q4k_scale(block + 4, static_cast<int>(g % 8));
    put(columns, j, part.sc);
    put(columns + kColumns, j, part.mn);
    std::memcpy(columns + 2 * kColumns + j * 2, block, 2);
    std::memcpy(columns + 4 * kColumns + j * 2, block + 2, 2);
    return;
  }
  const std::uint8_t zero = in[kQgemmWZero].as<std::uint8_t>()[n * p.w_groups() + g];
  if (kind == ColumnKind::kZeroF32) {
    put(columns, j, static_cast<float>(zero));
  } else {
    put(columns, j, static_cast<std::uint8_t>(15 - zero));
  }
}

void put_row(const QgemmProblem& p, std::span<const Tensor> in, const CodedLayout& layout,
             std::int64_t n, std::byte* panel) {
  const std::uint8_t* row = in[kQgemmW].as<std::uint8_t>() + n * p.w_row_bytes();
  const std::int64_t j = n % kColumns;
  for (std::int64_t k = 0; k < p.K; ++k) {
    std::byte* step = panel + k / layout.group * layout.step_bytes;
    if (k % layout.group == 0) {
      // Formats without scales in the panel may be cut along K as it suits the tile.
      if (layout.scale != ScaleKind::kNone) {
        put_scale(layout.scale, affine_of(p, in, n, k / layout.group).scale, j,
                  step + layout.code_bytes);
      }
      put_columns(p, in, layout.columns, n, k / layout.group, step + layout.columns_at);
    }
    const std::int64_t vector = k % layout.group / layout.elements;
    const CodePlace place =
        layout.place(static_cast<int>(k % layout.elements), static_cast<int>(j % 16));
    const auto code = static_cast<std::byte>(sign_on_top(p.w_kind, stored_code(p.w_kind, row, k)));
    step[vector * 128 + j / 16 * 64 + place.byte] |= place.high ? code << 4 : code;
  }
}

}  // namespace

void pack_coded_panels(const QgemmProblem& p, std::span<const Tensor> in, const CodedLayout& layout,
                       std::int64_t panel_bytes, std::byte* panels, ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(p.N, thread, threads, kColumns);
    for (std::int64_t n = begin; n < end; ++n) {
      put_row(p, in, layout, n, panels + n / kColumns * panel_bytes);
    }
  });
}

}  // namespace pareto
