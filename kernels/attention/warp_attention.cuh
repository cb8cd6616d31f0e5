// Attention of one query by one warp, key by key: the loop of attention/cuda_naive, shared with the
// host emulator (which defines __device__ as nothing). T converts to and from float.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_maps.h"
#include "kernels/warp_reduce.cuh"

namespace pareto::cuda {

/// Elements of q and o per lane: l, l + 32, …; head_dim and head_dim_v go up to 256.
inline constexpr int kWarpAttentionPerLane = 8;
inline constexpr int kWarpAttentionDim = kWarpLanes * kWarpAttentionPerLane;

struct WarpAttentionSizes {
  std::int64_t rows = 0;  ///< batch · heads_q · seq_q
  std::int64_t heads_q = 0;
  std::int64_t heads_kv = 0;
  std::int64_t seq_q = 0;
  std::int64_t seq_kv = 0;
  std::int64_t head_dim = 0;
  std::int64_t head_dim_v = 0;
  std::int64_t offset = 0;  ///< query i stands at key position i + offset
  bool causal = false;
  float scale = 1;
};

/// Layout dense: q [rows, head_dim], k [kv_slices, seq_kv, head_dim], v and o with head_dim_v, lse
/// [rows].
template <typename T>
struct WarpAttentionOperands {
  const T* q = nullptr;
  const T* k = nullptr;
  const T* v = nullptr;
  T* o = nullptr;
  float* lse = nullptr;
};

/// Maximum and sum of the weights of the keys so far.
struct OnlineSoftmax {
  float maximum = -INFINITY;
  float sum = 0;

  /// Takes a logit above −∞: the factor of what was summed before, and the weight of the new key.
  __device__ void take(float logit, float& rescale, float& weight) {
    const float above = fmaxf(maximum, logit);
    rescale = expf(maximum - above);
    weight = expf(logit - above);
    maximum = above;
    sum = fmaf(sum, rescale, weight);
  }
  [[nodiscard]] __device__ bool empty() const { return maximum == -INFINITY && sum == 0; }
};

/// Thread `index` of the grid; warp w computes row w of o and lse. A query without keys: 0, −∞.
template <typename Lane, typename T>
__device__ void warp_attention(Lane& lane, std::int64_t index, const WarpAttentionSizes& s,
                               const WarpAttentionOperands<T>& in) {
  constexpr int kPerLane = kWarpAttentionPerLane;
  const std::int64_t row = index / kWarpLanes;
  const int l = lane.thread() % kWarpLanes;
  if (row >= s.rows) return;  // whole warps
  const DenseQuery query = dense_query(row, s.seq_q, s.heads_q, s.heads_kv);
  const T* keys = in.k + query.kv_slice * s.seq_kv * s.head_dim;
  const T* values = in.v + query.kv_slice * s.seq_kv * s.head_dim_v;
  float q_part[kPerLane] = {};
  float o_part[kPerLane] = {};
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int at = l + i * kWarpLanes;
    if (at < s.head_dim) q_part[i] = static_cast<float>(in.q[row * s.head_dim + at]);
  }
  const KeySpan span = s.causal ? causal_keys(query.i + s.offset, s.seq_kv) : KeySpan{0, s.seq_kv};
  OnlineSoftmax softmax;
  for (std::int64_t j = span.lo; j < span.hi; ++j) {
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int at = l + i * kWarpLanes;
      if (at < s.head_dim)
        dot = fmaf(q_part[i], static_cast<float>(keys[j * s.head_dim + at]), dot);
    }
    const float logit = s.scale * warp_sum(lane, dot);
    if (logit == -INFINITY) continue;
    float rescale = 0;
    float weight = 0;
    softmax.take(logit, rescale, weight);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int at = l + i * kWarpLanes;
      if (at < s.head_dim_v) {
        const auto value = static_cast<float>(values[j * s.head_dim_v + at]);
        o_part[i] = fmaf(weight, value, o_part[i] * rescale);
      }
    }
  }
  const bool empty = softmax.empty();
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int at = l + i * kWarpLanes;
    if (at < s.head_dim_v) {
      in.o[row * s.head_dim_v + at] = static_cast<T>(empty ? 0 : o_part[i] / softmax.sum);
    }
  }
  if (l == 0) in.lse[row] = empty ? -INFINITY : softmax.maximum + logf(softmax.sum);
}

}  // namespace pareto::cuda
