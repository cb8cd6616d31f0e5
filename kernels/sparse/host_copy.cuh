// Operands of a sparse layer on the host for repacking, and back.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/device.h"
#include "harness/device_buffer.h"
#include "harness/tensor.h"

namespace pareto {

/// The elements of a device tensor, and `behind` zeros.
template <typename T>
std::vector<T> on_host(const Tensor& tensor, std::int64_t behind = 0) {
  const auto elements = static_cast<std::size_t>(tensor.elements());
  std::vector<T> host(elements + static_cast<std::size_t>(behind));
  if (elements > 0) device().download(host.data(), tensor.data, elements * sizeof(T));
  return host;
}

/// Device memory with the same elements.
template <typename T>
DeviceBuffer<T> on_device(const std::vector<T>& host) {
  DeviceBuffer<T> buffer(static_cast<std::int64_t>(host.size()));
  if (!host.empty()) buffer.upload(host);
  return buffer;
}

}  // namespace pareto
