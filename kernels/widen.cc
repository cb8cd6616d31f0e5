#include "kernels/widen.h"

#include <algorithm>

#include "kernels/half_to_float.h"

namespace pareto {

float widened(const Tensor& tensor, std::int64_t i) {
  if (tensor.dtype == DType::kF32) return tensor.as<const float>()[i];
  const std::uint16_t code = tensor.as<const std::uint16_t>()[i];
  return tensor.dtype == DType::kBf16 ? widen_bf16(code) : widen_fp16(code);
}

void widen(const Tensor& tensor, std::int64_t first, std::int64_t count, float* values) {
  if (tensor.dtype == DType::kF32) {
    std::copy_n(tensor.as<const float>() + first, count, values);
    return;
  }
  const std::uint16_t* codes = tensor.as<const std::uint16_t>() + first;
  if (tensor.dtype == DType::kBf16) {
    for (std::int64_t i = 0; i < count; ++i) values[i] = widen_bf16(codes[i]);
  } else {
    for (std::int64_t i = 0; i < count; ++i) values[i] = widen_fp16(codes[i]);
  }
}

}  // namespace pareto
