// Rows of y for very few tokens, W in CSR as given: one warp per row of W, sums in fp32. For the
// device and for the host emulator.
//
// Values and columns are read once, in whole lines; what they meet of x is gathered, from shared
// memory where x fits. The lanes' sums are added in pairs.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/sparse/csr_element.cuh"
#include "kernels/warp_reduce.cuh"

namespace pareto::cuda {

struct CsrVector {
  static constexpr int kWarps = 16;
  static constexpr int kThreads = kWarps * kWarpLanes;
  static constexpr int kAtOnce = 4;  ///< entries of a lane in flight
  static constexpr int kMostSharedBytes = 96 * 1024;

  static constexpr bool in_shared(std::int64_t tokens, std::int64_t K) {
    return 4 * tokens * K <= kMostSharedBytes;
  }
};

/// Copies x [kTokens, K] to shared memory as fp32; rows from `tokens` on are zero.
template <int kTokens, typename Lane, typename T>
__device__ void csr_vector_tokens(Lane& lane, const CsrOperands<T>& in, std::int64_t tokens) {
  const auto K = static_cast<int>(in.K);
  for (int i = lane.thread(); i < kTokens * K; i += CsrVector::kThreads) {
    lane.store_shared(4 * static_cast<std::uint32_t>(i),
                      i < tokens * K ? static_cast<float>(in.x[i]) : 0.0F);
  }
  lane.barrier();
}

/// One row of W by a warp, x in shared memory or not: sum[token] in every lane.
template <int kTokens, bool kShared, typename Lane, typename T>
__device__ void csr_vector_row(Lane& lane, const CsrOperands<T>& in, std::int64_t tokens,
                               std::int64_t row, float (&sum)[kTokens]) {
  const auto K = static_cast<std::uint32_t>(in.K);
  const std::int64_t begin = in.offset[row];
  const auto length = static_cast<int>(in.offset[row + 1] - begin);
  const T* values = in.values + begin;
  const std::int32_t* columns = in.column + begin;
  const auto add = [&](float value, std::uint32_t column) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      float x = 0;
      if constexpr (kShared) {
        x = lane.load_shared(4 * (K * static_cast<std::uint32_t>(t) + column));
      } else if (t < tokens) {
        x = static_cast<float>(in.x[t * in.K + column]);
      }
      sum[t] = fmaf(value, x, sum[t]);
    }
  };
  int e = lane.thread() % kWarpLanes;
#pragma unroll 1
  for (; e + (CsrVector::kAtOnce - 1) * kWarpLanes < length; e += CsrVector::kAtOnce * kWarpLanes) {
    float value[CsrVector::kAtOnce];
    std::uint32_t column[CsrVector::kAtOnce];
#pragma unroll
    for (int i = 0; i < CsrVector::kAtOnce; ++i) {
      value[i] = static_cast<float>(values[e + i * kWarpLanes]);
      column[i] = static_cast<std::uint32_t>(columns[e + i * kWarpLanes]);
    }
#pragma unroll
    for (int i = 0; i < CsrVector::kAtOnce; ++i) add(value[i], column[i]);
  }
#pragma unroll 1
  for (; e < length; e += kWarpLanes) {
    add(static_cast<float>(values[e]), static_cast<std::uint32_t>(columns[e]));
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) sum[t] = warp_sum(lane, sum[t]);
}

/// The block's 16 rows of W from `row` on: calls store(token, row, sum) for what is inside of y.
template <int kTokens, bool kShared, typename Lane, typename T, typename Store>
__device__ void csr_vector(Lane& lane, const CsrOperands<T>& in, std::int64_t tokens,
                           std::int64_t row, const Store& store) {
  if constexpr (kShared) csr_vector_tokens<kTokens>(lane, in, tokens);
  const std::int64_t n = row + lane.thread() / kWarpLanes;
  if (n >= in.N) return;  // whole warps
  float sum[kTokens] = {};
  csr_vector_row<kTokens, kShared>(lane, in, tokens, n, sum);
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (t < tokens && lane.thread() % kWarpLanes == t) store(t, n, sum[t]);
  }
}

}  // namespace pareto::cuda
