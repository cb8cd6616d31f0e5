// What a BLAS leaves to its caller: a pass over y afterwards.
#pragma once

#include <cstdint>

#include "harness/thread_pool.h"
#include "reference/activation.h"

namespace pareto {

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
