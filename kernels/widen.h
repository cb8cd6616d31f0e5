// Elements of fp32, bf16 or fp16 tensors as fp32.
#pragma once

#include <cstdint>

#include "harness/tensor.h"

namespace pareto {

/// Element i.
float widened(const Tensor& tensor, std::int64_t i);

/// Elements [first, first + count), exactly, to values[count].
void widen(const Tensor& tensor, std::int64_t first, std::int64_t count, float* values);

}  // namespace pareto
