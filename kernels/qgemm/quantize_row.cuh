// Quantization of one row by one warp, shared with the host emulator (which defines __device__ as
// nothing): the codes and scales of reference/quantize.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_maps.h"
#include "kernels/warp_reduce.cuh"

namespace pareto::cuda {

/// Largest code of a type, what its products are summed in, and a quotient rounded to it, ties to
/// even, saturating.
struct CodesS8 {
  using Code = std::int8_t;
  using Sum = std::int32_t;
  static constexpr double kLargest = 127;
  static __device__ Code of(double quotient) {
    return static_cast<Code>(fmin(fmax(rint(quotient), -kLargest), kLargest));
  }
};

/// `count` values by the warp of `lane`: codes, and one scale amax/largest, which lane 0 writes.
/// Quotients in fp64.
template <typename Codes, typename Lane>
__device__ void quantize_values(Lane& lane, const float* in, std::int64_t count,
                                typename Codes::Code* codes, float* scale_out) {
  const int l = lane.thread() % kWarpLanes;
  float amax = 0;
  for (std::int64_t k = l; k < count; k += kWarpLanes) amax = fmaxf(amax, fabsf(in[k]));
  amax = warp_max(lane, amax);
  const float scale = amax == 0 ? 1 : static_cast<float>(double{amax} / Codes::kLargest);
  if (l == 0) *scale_out = scale;
  for (std::int64_t k = l; k < count; k += kWarpLanes) {
    // A subnormal amax may round to a scale of 0, whose codes are 0.
    codes[k] = scale == 0 ? typename Codes::Code{0} : Codes::of(double{in[k]} / double{scale});
  }
}

/// Thread `index` of the grid; warp w quantizes row w of x [M,K] to codes [M,K], scales [M].
template <typename Codes, typename Lane>
__device__ void quantize_row(Lane& lane, std::int64_t index, std::int64_t M, std::int64_t K,
                             const float* x, typename Codes::Code* codes, float* scales) {
  const std::int64_t row = index / kWarpLanes;
  if (row >= M) return;  // whole warps
  quantize_values<Codes>(lane, x + row * K, K, codes + row * K, scales + row);
}

/// The same with one scale per `group` of a row, the last may be short: warp w quantizes group w %
/// ⌈K/group⌉ of row w / ⌈K/group⌉. Scales lie by group, [⌈K/group⌉,M].
template <typename Codes, typename Lane>
__device__ void quantize_row_group(Lane& lane, std::int64_t index, std::int64_t M, std::int64_t K,
                                   std::int64_t group, const float* x, typename Codes::Code* codes,
                                   float* scales) {
  const MatrixPlace place = matrix_place(index / kWarpLanes, ceil_div(K, group));
  if (place.row >= M) return;  // whole warps
  const std::int64_t first = place.column * group;
  const std::int64_t count = K - first < group ? K - first : group;
  quantize_values<Codes>(lane, x + place.row * K + first, count, codes + place.row * K + first,
                         scales + place.column * M + place.row);
}

}  // namespace pareto::cuda
