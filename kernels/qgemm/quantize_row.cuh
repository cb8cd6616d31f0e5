// Quantization of one row by one warp, shared with the host emulator (which defines __device__ as
// nothing): the codes and scales of reference/quantize.h.
#pragma once

#include <cmath>
#include <cstdint>

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

/// Thread `index` of the grid; warp w quantizes row w of x [M,K] to codes and one scale
/// amax/largest. Quotients in fp64.
template <typename Codes, typename Lane>
__device__ void quantize_row(Lane& lane, std::int64_t index, std::int64_t M, std::int64_t K,
                             const float* x, typename Codes::Code* codes, float* scales) {
  const std::int64_t row = index / kWarpLanes;
  if (row >= M) return;  // whole warps
  const int l = lane.thread() % kWarpLanes;
  const float* in = x + row * K;
  float amax = 0;
  for (std::int64_t k = l; k < K; k += kWarpLanes) amax = fmaxf(amax, fabsf(in[k]));
  amax = warp_max(lane, amax);
  const float scale = amax == 0 ? 1 : static_cast<float>(double{amax} / Codes::kLargest);
  if (l == 0) scales[row] = scale;
  for (std::int64_t k = l; k < K; k += kWarpLanes) {
    // A subnormal amax may round to a scale of 0, whose codes are 0.
    codes[row * K + k] =
        scale == 0 ? typename Codes::Code{0} : Codes::of(double{in[k]} / double{scale});
  }
}

}  // namespace pareto::cuda
