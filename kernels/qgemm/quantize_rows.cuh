// Quantization of activations by row, on the device: the codes and scales of reference/quantize.h.
#pragma once

#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/cuda_lane.cuh"
#include "kernels/cuda_launch.cuh"
#include "kernels/qgemm/quantize_row.cuh"

namespace pareto {

using cuda::CodesS8;

struct CodesE4m3 {
  using Code = std::uint8_t;
  using Sum = float;
  static constexpr double kLargest = 448;
  static constexpr bool kWholeNumbers = false;
  static __device__ Code of(double quotient) {
    return __nv_cvt_double_to_fp8(quotient, __NV_SATFINITE, __NV_E4M3);
  }
};

/// Codes of x [M,K] and one scale amax/largest per row; one warp per row.
template <typename Codes>
__global__ void quantize_rows(std::int64_t M, std::int64_t K, const float* x,
                              typename Codes::Code* codes, float* scales) {
  cuda::DeviceThread lane;
  cuda::quantize_row<Codes>(lane, thread_index(), M, K, x, codes, scales);
}

/// The same, one block per row: K a multiple of 4, x 16-byte aligned.
template <typename Codes>
__global__ void __launch_bounds__(cuda::kQuantizeThreads)
    quantize_rows_by_blocks(std::int64_t K, const float* x, typename Codes::Code* codes,
                            float* scales) {
  __shared__ float largest[cuda::kQuantizeSharedBytes / 4];
  cuda::DeviceLane lane(largest);
  const std::int64_t row = blockIdx.x;
  cuda::quantize_row_by_block<Codes>(lane, x + row * K, K, codes + row * K, scales + row);
}

/// Starts one of them on the harness's stream.
template <typename Codes>
void start_quantize_rows(std::int64_t M, std::int64_t K, const float* x,
                         typename Codes::Code* codes, float* scales) {
  if (K % 4 == 0 && reinterpret_cast<std::uintptr_t>(x) % 16 == 0) {
    launch_grid(quantize_rows_by_blocks<Codes>, dim3(static_cast<unsigned>(M)),
                dim3(cuda::kQuantizeThreads), 0, K, x, codes, scales);
    return;
  }
  launch(quantize_rows<Codes>, M * cuda::kWarpLanes, M, K, x, codes, scales);
}

}  // namespace pareto
