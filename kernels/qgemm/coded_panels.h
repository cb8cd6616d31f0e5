// Packing W into the panels of coded_tile_avx512.h. Portable; runs once, in `prepare`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "harness/tensor.h"
#include "harness/thread_pool.h"
#include "kernels/qgemm/group_formats.h"
#include "reference/qgemm.h"

namespace pareto {

/// Scales of the 32 columns of a step: how they are stored.
enum class ScaleKind : std::uint8_t {
  kNone,
  kF16,
  kBf16,  ///< powers of two beyond fp16
  kF32,
  kPanel,  ///< one fp32 for all columns
};

/// What a step holds per column besides codes and scale.
enum class ColumnKind : std::uint8_t {
  kNone,
  kZeroFrom15,  ///< u8 [32]: 15 − zero point
  kZeroF32,     ///< fp32 [32]
  kQ4k,         ///< u8 sc[32], u8 mn[32], fp16 d[32], fp16 dmin[32]
};

/// Geometry of a step: one group of K, 32 columns.
struct CodedLayout {
  int group = 0;
  int elements = 0;  ///< of K in a 64-byte vector of 16 columns
  std::int64_t code_bytes = 0;
  std::int64_t columns_at = 0;
  std::int64_t step_bytes = 0;
  ScaleKind scale = ScaleKind::kNone;
  ColumnKind columns = ColumnKind::kNone;
  CodePlace (*place)(int k, int column) = nullptr;  ///< within such a vector
};

/// All panels of W, on the pool; `panels` is zero beforehand.
void pack_coded_panels(const QgemmProblem& problem, std::span<const Tensor> in,
                       const CodedLayout& layout, std::int64_t panel_bytes, std::byte* panels,
                       ThreadPool& pool);

}  // namespace pareto
