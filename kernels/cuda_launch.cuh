// Launching kernels and owning device memory: everything that can fail is checked.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>
#include <utility>

#include "harness/errors.h"
#include "kernels/cuda_maps.h"

namespace pareto {

/// MachineError with the driver's words unless `status` is success.
inline void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  // Not fmt: nvcc takes fmt 9's consteval format strings for errors.
  throw MachineError(std::string(what) + ": " + cudaGetErrorString(status));
}

/// `count` elements of device memory.
template <typename T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::int64_t count) {
    if (count == 0) return;
    check_cuda(cudaMalloc(&data_, static_cast<std::size_t>(count) * sizeof(T)), "cudaMalloc");
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() { cudaFree(data_); }

  [[nodiscard]] T* data() const { return data_; }

 private:
  T* data_ = nullptr;
};

inline constexpr int kBlockThreads = 256;

/// Index of the calling thread in a one-dimensional launch.
__device__ inline std::int64_t thread_index() {
  return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

/// Starts `kernel(arguments…)` with at least `threads` threads in blocks of 256, on the default
/// stream; none if `threads` is 0.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), std::int64_t threads, Arguments... arguments) {
  if (threads == 0) return;
  const std::int64_t blocks = ceil_div(threads, kBlockThreads);
  if (blocks > 0x7fffffff) {
    throw CannotRunError(std::to_string(blocks) + " blocks: a grid has at most 2147483647");
  }
  kernel<<<static_cast<unsigned>(blocks), kBlockThreads>>>(arguments...);
  check_cuda(cudaGetLastError(), "kernel launch");
}

}  // namespace pareto
