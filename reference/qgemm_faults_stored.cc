// Faults in the encoded operands and in the outputs.
#include <algorithm>
#include <cstring>
#include <limits>

#include "reference/number_formats.h"
#include "reference/qgemm_faults.h"

namespace pareto {
namespace {

struct ScaleLayout {
  std::size_t stride = 0;  ///< bytes from one group's scale to the next
  std::size_t size = 0;    ///< bytes of a scale
  std::size_t row = 0;     ///< bytes from one row's scales to the next
  std::int64_t rows = 0;
  std::int64_t groups = 0;
  std::byte* data = nullptr;
};

ScaleLayout w_scales(const QgemmProblem& p, std::span<const Tensor> in) {
  const auto row_bytes = static_cast<std::size_t>(p.w_row_bytes());
  switch (p.w_kind) {
    case WKind::kQ8Block:
      return {34, 2, row_bytes, p.N, p.w_groups(), in[kQgemmW].data};
    case WKind::kQ4Block:
      return {18, 2, row_bytes, p.N, p.w_groups(), in[kQgemmW].data};
    case WKind::kQ4kBlock:
      return {144, 2, row_bytes, p.N, (p.K + 255) / 256, in[kQgemmW].data};
    default: {
      const Tensor& scales = in[kQgemmWScale];
      const std::size_t size = size_of(scales.dtype);
      const std::int64_t groups = scales.shape.rank() == 2 ? scales.shape[1] : 1;
      return {size,   size,       size * static_cast<std::size_t>(groups), scales.shape[0],
              groups, scales.data};
    }
  }
}

void swap_bytes(std::byte* a, std::byte* b, std::size_t count) {
  std::swap_ranges(a, a + count, b);
}

void swap_elements(const Tensor& tensor, std::int64_t i, std::int64_t j) {
  const std::size_t size = size_of(tensor.dtype);
  swap_bytes(tensor.data + static_cast<std::size_t>(i) * size,
             tensor.data + static_cast<std::size_t>(j) * size, size);
}

constexpr std::int64_t kTransposedTile = 16;

}  // namespace

void swap_w_scale_rows(const QgemmProblem& p, std::span<const Tensor> in) {
  const ScaleLayout scales = w_scales(p, in);
  if (scales.rows < 2) return;
  for (std::int64_t g = 0; g < scales.groups; ++g) {
    std::byte* at = scales.data + static_cast<std::size_t>(g) * scales.stride;
    swap_bytes(at, at + scales.row, scales.size);
  }
}

void swap_w_scale_groups(const QgemmProblem& p, std::span<const Tensor> in) {
  const ScaleLayout scales = w_scales(p, in);
  if (scales.groups < 2) return;
  for (std::int64_t n = 0; n < scales.rows; ++n) {
    std::byte* at = scales.data + static_cast<std::size_t>(n) * scales.row;
    swap_bytes(at, at + scales.stride, scales.size);
  }
}

void swap_nibbles(const QgemmProblem& p, std::span<const Tensor> in) {
  const std::size_t block = p.w_kind == WKind::kQ4Block    ? 18
                            : p.w_kind == WKind::kQ4kBlock ? 144
                                                           : 1;
  const std::size_t header = p.w_kind == WKind::kQ4Block    ? 2
                             : p.w_kind == WKind::kQ4kBlock ? 16
                                                            : 0;
  for (std::size_t i = 0; i < in[kQgemmW].bytes(); ++i) {
    std::byte& byte = in[kQgemmW].data[i];
    if (i % block >= header) byte = byte >> 4 | byte << 4;
  }
}

void scale_outputs(Outputs& outputs, double factor) {
  for (HostTensor& output : outputs) {
    for (std::int64_t i = 0; i < output.elements(); ++i) {
      if (output.dtype() == DType::kS32) {
        std::int32_t& value = output.view().as<std::int32_t>()[i];
        value = static_cast<std::int32_t>(
            static_cast<std::uint32_t>(static_cast<std::int64_t>(factor) * value));
      } else {
        store_rounded(output.view(), i, factor * output.value(i));
      }
    }
  }
}

void transpose_tile(const QgemmProblem& p, Outputs& outputs) {
  const std::int64_t size = std::min({kTransposedTile, p.M, p.N});
  for (const HostTensor& output : outputs) {
    for (std::int64_t m = 0; m < size; ++m) {
      for (std::int64_t n = 0; n < m; ++n) swap_elements(output.view(), m * p.N + n, n * p.N + m);
    }
  }
}

void leave_last_unwritten(Outputs& outputs) {
  for (const HostTensor& output : outputs) {
    if (output.elements() == 0) continue;
    const std::int64_t last = output.elements() - 1;
    if (output.dtype() == DType::kS32) {
      output.view().as<std::int32_t>()[last] = std::numeric_limits<std::int32_t>::min();
    } else {
      store_rounded(output.view(), last, std::numeric_limits<double>::quiet_NaN());
    }
  }
}

void repeat_row(const QgemmProblem& p, Outputs& outputs) {
  if (p.M < 2) return;
  for (const HostTensor& output : outputs) {
    const auto row = static_cast<std::size_t>(p.N) * size_of(output.dtype());
    std::byte* last = output.view().data + static_cast<std::size_t>(p.M - 1) * row;
    std::memcpy(last, last - row, row);
  }
}

void repeat_column(const QgemmProblem& p, Outputs& outputs) {
  if (p.N < 2) return;
  for (const HostTensor& output : outputs) {
    const std::size_t size = size_of(output.dtype());
    for (std::int64_t m = 0; m < p.M; ++m) {
      std::byte* last = output.view().data + static_cast<std::size_t>((m + 1) * p.N - 1) * size;
      std::memcpy(last, last - size, size);
    }
  }
}

bool packs_nibbles(const QgemmProblem& p) {
  switch (p.w_kind) {
    case WKind::kInt4:
    case WKind::kInt4Asym:
    case WKind::kQ4Block:
    case WKind::kQ4kBlock:
    case WKind::kNf4:
    case WKind::kMxfp4:
    case WKind::kNvfp4:
      return true;
    default:
      return false;
  }
}

}  // namespace pareto
