// Launching kernels on the harness's stream: everything that can fail is checked.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "harness/device.h"
#include "harness/errors.h"
#include "harness/occupancy.h"
#include "kernels/cuda_maps.h"

namespace pareto {

/// Ends the case with the driver's words unless `status` is success.
inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) device_failed(what, cudaGetErrorString(status));
}

/// The stream that all work of a call goes to.
inline cudaStream_t call_stream() { return static_cast<cudaStream_t>(device().stream()); }

/// Index of the calling thread in a one-dimensional launch.
__device__ inline std::int64_t thread_index() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

/// Starts `kernel(arguments…)` on a grid of blocks with `shared_bytes` of dynamic shared memory;
/// nothing if the grid is empty. More than 48 KiB have to be allowed first (allow_shared).
template <typename... Parameters, typename... Arguments>
void launch_grid(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                 Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  kernel<<<grid, block, shared_bytes, call_stream()>>>(arguments...);
  check_cuda(cudaGetLastError(), "kernel launch");
}

/// The same with blocks that work in clusters of `cluster` neighbours along x, which divides
/// grid.x. Compute capability 9.0 and later.
template <typename... Parameters, typename... Arguments>
void launch_clusters(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
                     int cluster, const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = call_stream();
  config.attrs = &attribute;
  config.numAttrs = cluster > 1 ? 1 : 0;
  check_cuda(cudaLaunchKernelEx(&config, kernel, arguments...), "kernel launch");
}

/// Lets `kernel` have more than 48 KiB of dynamic shared memory: in `prepare`, once.
template <typename... Parameters>
void allow_shared(void (*kernel)(Parameters...), int shared_bytes) {
  check_cuda(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes),
      "shared memory of a kernel");
}

/// Starts `kernel(arguments…)` with at least `threads` threads in blocks of 256; none if `threads`
/// is 0.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), std::int64_t threads, Arguments... arguments) {
  const std::int64_t blocks = ceil_div(threads, kDefaultBlockThreads);
  if (blocks > 0x7fffffff) {
    throw CannotRunError(std::to_string(blocks) + " blocks: a grid has at most 2147483647");
  }
  launch_grid(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kDefaultBlockThreads), 0,
              arguments...);
}

}  // namespace pareto
