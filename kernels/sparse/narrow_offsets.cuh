// 64-bit offsets of a sparse matrix in 32 bits, for libraries that want one type of index.
#pragma once

#include <cstdint>
#include <string>

#include "harness/device_buffer.h"
#include "harness/errors.h"
#include "harness/tensor.h"
#include "kernels/cuda_launch.cuh"

namespace pareto {

static __global__ void narrow_each(std::int64_t count, const std::int64_t* from, std::int32_t* to) {
  const std::int64_t index = thread_index();
  if (index < count) to[index] = static_cast<std::int32_t>(from[index]);
}

/// Device tensor s64 to s32. CannotRunError if the last offset does not fit.
inline DeviceBuffer<std::int32_t> narrow_offsets(const Tensor& offsets) {
  const std::int64_t count = offsets.elements();
  std::int64_t last = 0;
  device().download(&last, offsets.as<const std::int64_t>() + count - 1, sizeof(last));
  if (last > INT32_MAX) {
    throw CannotRunError(std::to_string(last) + " stored values: 32-bit offsets end at 2147483647");
  }
  DeviceBuffer<std::int32_t> narrow(count);
  launch(narrow_each, count, count, offsets.as<const std::int64_t>(), narrow.data());
  return narrow;
}

}  // namespace pareto
