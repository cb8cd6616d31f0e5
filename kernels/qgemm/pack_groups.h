// Panels of group-quantized W for the integer tiles: codes and, inline, the scales of each group.
// Portable; runs once, in `prepare`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "harness/tensor.h"
#include "harness/thread_pool.h"
#include "kernels/qgemm/group_formats.h"
#include "reference/block_q4_k.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"
#include "reference/qgemm_operands.h"

namespace pareto {

/// One row of W decoded to integer codes and scales.
struct IntegerRow {
  explicit IntegerRow(const QgemmProblem& p)
      : code(static_cast<std::size_t>(p.K)),
        scale(static_cast<std::size_t>(p.w_groups())),
        offset(static_cast<std::size_t>(p.w_groups())) {}
  std::vector<std::int32_t> code;
  std::vector<float> scale;
  std::vector<float> offset;
};

/// Puts the codes of column j, raised by `raise`, into a panel of `Format`. Codes beyond K stay 0:
/// x is 0 there.
template <typename Format>
void put_codes(std::span<const std::int32_t> codes, int raise, int j, std::byte* panel) {
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const auto k = static_cast<std::int64_t>(i);
    const std::int64_t g = k / Format::kGroup;
    std::byte* group = panel + g / Format::kSubGroups * Format::kStepBytes + Format::kCodesAt +
                       g % Format::kSubGroups * Format::kSubBytes;
    const CodePlace place = Format::place(k % Format::kGroup, j);
    const auto code = static_cast<std::byte>(codes[i] + raise);
    group[place.byte] |= place.high ? code << 4 : code;
  }
}

/// Puts the fp16 scales of column j into a panel of a format with one scale per step.
template <typename Format>
void put_scales(std::span<const float> scales, int j, std::byte* panel) {
  for (std::size_t g = 0; g < scales.size(); ++g) {
    const std::uint16_t scale = to_fp16(scales[g]);
    std::memcpy(panel + static_cast<std::int64_t>(g) * Format::kStepBytes + Format::kCodeBytes +
                    std::int64_t{j} * 2,
                &scale, sizeof(scale));
  }
}

/// Puts the scales and minima of q4_k's super-blocks of one row into column j of a panel.
template <typename Format>
void put_q4k_scales(const std::uint8_t* row, std::int64_t blocks, int j, std::byte* panel) {
  for (std::int64_t b = 0; b < blocks; ++b, row += kQ4kBytes) {
    std::byte* step = panel + b * Format::kStepBytes;
    for (int sub = 0; sub < Format::kSubGroups; ++sub) {
      const Q4kScale scale = q4k_scale(row + 4, sub);
      step[Format::kScaleAt + sub * Format::kSubBytes + j] = std::byte{scale.sc};
      step[Format::kMinimumAt + sub * Format::kSubBytes + j] = std::byte{scale.mn};
    }
    std::memcpy(step + Format::kDAt + std::int64_t{j} * 2, row, 2);
    std::memcpy(step + Format::kDMinAt + std::int64_t{j} * 2, row + 2, 2);
  }
}

/// All panels of W, 32 columns each, on the pool; `panels` is zero beforehand.
template <typename Format>
void pack_groups(const QgemmProblem& p, std::span<const Tensor> in, int raise,
                 std::int64_t panel_bytes, std::byte* panels, ThreadPool& pool) {
  constexpr std::int64_t kColumns = 32;
  std::vector<IntegerRow> scratch(static_cast<std::size_t>(pool.size()), IntegerRow(p));
  pool.run([&](int thread, int threads) {
    IntegerRow& row = scratch[static_cast<std::size_t>(thread)];
    const auto [begin, end] = share_of(p.N, thread, threads, kColumns);
    for (std::int64_t n = begin; n < end; ++n) {
      integer_w_row(p, in, n, row.code.data(), row.scale.data(), row.offset.data());
      std::byte* panel = panels + n / kColumns * panel_bytes;
      const auto j = static_cast<int>(n % kColumns);
      put_codes<Format>(row.code, raise, j, panel);
      if constexpr (Format::kMinima) {
        put_q4k_scales<Format>(in[kQgemmW].as<std::uint8_t>() + n * p.w_row_bytes(),
                               p.w_row_bytes() / kQ4kBytes, j, panel);
      } else {
        put_scales<Format>(row.scale, j, panel);
      }
    }
  });
}

}  // namespace pareto
