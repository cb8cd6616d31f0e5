// Quantization of activations by row, on the device: the codes and scales of reference/quantize.h.
#pragma once

#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/cuda_launch.cuh"

namespace pareto {

/// Largest code of each type, what its products are summed in, and a quotient rounded to it, ties
/// to even, saturating.
struct CodesS8 {
  using Code = std::int8_t;
  using Sum = std::int32_t;
  static constexpr double kLargest = 127;
  static __device__ Code of(double quotient) {
    return static_cast<Code>(fmin(fmax(rint(quotient), -kLargest), kLargest));
  }
};
struct CodesE4m3 {
  using Code = std::uint8_t;
  using Sum = float;
  static constexpr double kLargest = 448;
  static __device__ Code of(double quotient) {
    return __nv_cvt_double_to_fp8(quotient, __NV_SATFINITE, __NV_E4M3);
  }
};

/// Codes of x [M,K] and one scale amax/largest per row; one warp per row, quotients in fp64.
template <typename Codes>
__global__ void quantize_rows(std::int64_t M, std::int64_t K, const float* x,
                              typename Codes::Code* codes, float* scales) {
  constexpr int kWarp = 32;
  const std::int64_t row = thread_index() / kWarp;
  if (row >= M) return;  // whole warps
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const float* in = x + row * K;
  float amax = 0;
  for (std::int64_t k = lane; k < K; k += kWarp) amax = fmaxf(amax, fabsf(in[k]));
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    amax = fmaxf(amax, __shfl_xor_sync(0xffffffffU, amax, distance));
  }
  const float scale = amax == 0 ? 1 : static_cast<float>(double{amax} / Codes::kLargest);
  if (lane == 0) scales[row] = scale;
  for (std::int64_t k = lane; k < K; k += kWarp) {
    // A subnormal amax may round to a scale of 0, whose codes are 0.
    codes[row * K + k] =
        scale == 0 ? typename Codes::Code{0} : Codes::of(double{in[k]} / double{scale});
  }
}

/// Starts it on the harness's stream.
template <typename Codes>
void start_quantize_rows(std::int64_t M, std::int64_t K, const float* x,
                         typename Codes::Code* codes, float* scales) {
  launch(quantize_rows<Codes>, M * 32, M, K, x, codes, scales);
}

}  // namespace pareto
