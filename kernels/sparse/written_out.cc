#include "kernels/sparse/written_out.h"

#include <bit>
#include <cstring>
#include <vector>

#include "kernels/sparse/stored_rows.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

// Exact: the value came from this type. NaN stays NaN.
std::uint16_t narrowed(DType dtype, float value) {
  if (dtype == DType::kF16) return to_fp16(value);
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16U);
}

// W as it was given, rows `columns` apart.
void copy_rows(const Tensor& w, std::int64_t columns, std::byte* to) {
  const auto size = static_cast<std::int64_t>(size_of(w.dtype));
  const std::int64_t row = w.shape[1] * size;
  for (std::int64_t n = 0; n < w.shape[0]; ++n) {
    std::memcpy(to + n * columns * size, w.data + n * row, static_cast<std::size_t>(row));
  }
}

}  // namespace

AlignedBuffer<std::byte> written_out(const SparseProblem& problem, std::span<const Tensor> in,
                                     std::int64_t columns) {
  const auto size = static_cast<std::int64_t>(size_of(problem.dtype));
  AlignedBuffer<std::byte> dense(problem.N * columns * size);
  if (problem.format == SparseFormat::kSkipX) {
    copy_rows(in[kSparseW], columns, dense.data());
    return dense;
  }
  const StoredRows rows(problem, in);
  std::vector<std::int32_t> k(static_cast<std::size_t>(problem.K));
  std::vector<float> value(k.size());
  for (std::int64_t lane = 0; lane < rows.lanes(); ++lane) {
    const StoredRow row = rows.read(lane, k.data(), value.data());
    if (row.n < 0) continue;  // a lane behind the last row
    std::byte* to = dense.data() + row.n * columns * size;
    for (std::size_t i = 0; i < static_cast<std::size_t>(row.count); ++i) {
      if (problem.dtype == DType::kF32) {
        reinterpret_cast<float*>(to)[k[i]] = value[i];
      } else {
        reinterpret_cast<std::uint16_t*>(to)[k[i]] = narrowed(problem.dtype, value[i]);
      }
    }
  }
  return dense;
}

}  // namespace pareto
