// Reductions over the 32 lanes of a warp, shared with the host emulator (which defines __device__
// as nothing). A `Lane` is one thread with its intrinsics (cuda_lane.cuh).
#pragma once

#include <cmath>

#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

/// Sum over the warp, in every lane: the same bits, since each step adds the same pairs.
template <typename Lane>
__device__ float warp_sum(Lane& lane, float x) {
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
    x += lane.exchange(x, distance);
  }
  return x;
}

/// Largest value of the warp, in every lane.
template <typename Lane>
__device__ float warp_max(Lane& lane, float x) {
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
    x = fmaxf(x, lane.exchange(x, distance));
  }
  return x;
}

}  // namespace pareto::cuda
