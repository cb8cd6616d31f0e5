// What a BLAS leaves to its caller: other element types into fp32, and a pass over y afterwards.
#pragma once

#include <bit>
#include <cstdint>

#include "harness/tensor.h"
#include "harness/thread_pool.h"
#include "reference/activation.h"

namespace pareto {

/// The value of a binary16 code, exactly; no branches, so that loops over it become vectors.
inline float widen_f16(std::uint16_t code) {
  const std::uint32_t magnitude = code & 0x7fffU;
  // Its exponent is 112 less than fp32's; the product also makes subnormals normal.
  const float scaled = std::bit_cast<float>(magnitude << 13U) * 0x1p112F;
  const std::uint32_t special = magnitude >= 0x7c00U ? 0x7f800000U : 0U;
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x8000U) << 16U;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | special | sign);
}

inline float widen_bf16(std::uint16_t code) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16U);
}

/// Elements [begin, end) of an fp32, bf16 or fp16 tensor, exactly, to the same places of `out`.
inline void widen(const Tensor& x, std::int64_t begin, std::int64_t end, float* out) {
  if (x.dtype == DType::kF32) {
    const float* in = x.as<const float>();
    for (std::int64_t i = begin; i < end; ++i) out[i] = in[i];
    return;
  }
  const auto* in = x.as<const std::uint16_t>();
  if (x.dtype == DType::kBf16) {
    for (std::int64_t i = begin; i < end; ++i) out[i] = widen_bf16(in[i]);
  } else {
    for (std::int64_t i = begin; i < end; ++i) out[i] = widen_f16(in[i]);
  }
}

/// y[M,N] = f(y + bias[N]) in fp32; `bias` may be null. `activation` is kNone or kRelu: the others
/// would cost a plain loop more than the product.
inline void add_bias_and_relu(float* y, std::int64_t M, std::int64_t N, const float* bias,
                              Activation activation, ThreadPool& pool) {
  if (bias == nullptr && activation == Activation::kNone) return;
  const bool relu = activation == Activation::kRelu;
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(M, thread, threads);
    for (std::int64_t m = begin; m < end; ++m) {
      float* row = y + m * N;
      if (bias != nullptr) {
        for (std::int64_t n = 0; n < N; ++n) row[n] += bias[n];
      }
      if (relu) {
        for (std::int64_t n = 0; n < N; ++n) row[n] = row[n] < 0 ? 0 : row[n];
      }
    }
  });
}

}  // namespace pareto
