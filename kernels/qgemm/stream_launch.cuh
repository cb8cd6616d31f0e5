// Launch of the kernels on stream_tile.cuh.
#pragma once

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/qgemm/stream_lane.cuh"
#include "kernels/qgemm/stream_tile.cuh"

namespace pareto {

/// Neighbouring blocks have the same rows of w, if there are several blocks of rows of x.
template <class T, bool kBf16>
__global__ void __launch_bounds__(T::kThreads, T::kBlocksAtOnce)
    stream_products(cuda::StreamProblem p, DeviceEpilogue epilogue) {
  extern __shared__ __align__(16) unsigned char sums[];
  cuda::StreamLane<kBf16> lane(sums);
  const std::int64_t x_blocks = ceil_div(p.M, T::kM);
  cuda::stream_tile<T>(
      lane, p, blockIdx.x / x_blocks * T::kRows, blockIdx.x % x_blocks * T::kM,
      [&](std::int64_t m, std::int64_t n, float sum) { epilogue.store(m * p.N + n, n, sum); });
}

template <class T, bool kBf16>
void start_stream(const cuda::StreamProblem& p, const DeviceEpilogue& epilogue) {
  const std::int64_t blocks = ceil_div(p.M, T::kM) * ceil_div(p.N, T::kRows);
  launch_grid(stream_products<T, kBf16>, dim3(static_cast<unsigned>(blocks)), dim3(T::kThreads),
              T::kSharedBytes, p, epilogue);
}

/// One size of tile and depth, ready to be launched.
using StreamStart = void (*)(const cuda::StreamProblem& p, const DeviceEpilogue& epilogue);

template <class T>
StreamStart stream_start(bool bf16) {
  return bf16 ? start_stream<T, true> : start_stream<T, false>;
}

}  // namespace pareto
