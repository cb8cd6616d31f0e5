// Operands of a sparse layer on the host, for repacking.
#pragma once

#include <vector>

#include "harness/device.h"
#include "harness/tensor.h"

namespace pareto {

/// The elements of a device tensor.
template <typename T>
std::vector<T> on_host(const Tensor& tensor) {
  std::vector<T> host(static_cast<std::size_t>(tensor.elements()));
  if (!host.empty()) device().download(host.data(), tensor.data, host.size() * sizeof(T));
  return host;
}

}  // namespace pareto
