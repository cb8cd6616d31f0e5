// Element types, activations and the last step of a linear layer on the device.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "harness/tensor.h"
#include "reference/activation.h"

namespace pareto {

/// Calls body with a null pointer to the device type of an fp32, bf16 or fp16 tensor.
template <typename Body>
void with_device_type(DType dtype, const Body& body) {
  if (dtype == DType::kBf16) {
    body(static_cast<__nv_bfloat16*>(nullptr));
  } else if (dtype == DType::kF16) {
    body(static_cast<__half*>(nullptr));
  } else {
    body(static_cast<float*>(nullptr));
  }
}

/// f(y) in fp32, as reference/activation.h defines it.
__device__ inline float activate_device(Activation activation, float y) {
  switch (activation) {
    case Activation::kRelu:
      return y < 0 ? 0 : y;
    case Activation::kGelu:
      return y * (0.5F * erfcf(-y * 0.70710678F));
    case Activation::kSilu:
      return y / (1 + expf(-y));
    case Activation::kSigmoid:
      return 1 / (1 + expf(-y));
    case Activation::kTanh:
      return tanhf(y);
    default:
      return y;
  }
}

/// What becomes of the sums of a linear layer: y = f(sum + bias), rounded. Device pointers.
struct DeviceEpilogue {
  const float* bias = nullptr;  ///< [N] or null
  Activation activation = Activation::kNone;
  DType out_dtype = DType::kF32;  ///< kF32 kBf16 kF16
  void* y = nullptr;              ///< [M,N]

  __device__ void store(std::int64_t index, std::int64_t column, float sum) const {
    const float value = activate_device(activation, bias == nullptr ? sum : sum + bias[column]);
    if (out_dtype == DType::kF32) {
      static_cast<float*>(y)[index] = value;
    } else if (out_dtype == DType::kBf16) {
      static_cast<__nv_bfloat16*>(y)[index] = __float2bfloat16_rn(value);
    } else {
      static_cast<__half*>(y)[index] = __float2half_rn(value);
    }
  }
};

}  // namespace pareto
