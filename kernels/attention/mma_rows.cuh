// What the attention kernels on mma.sync share: rows of K and V in shared memory, the products of
// 16 rows of q with 16 keys, and the online softmax on the accumulators. Written once, for the
// device and for the host emulator: a `Lane` is one thread with its intrinsics (cuda_lane.cuh; the
// emulator defines __device__ as nothing).
//
// Rows of kDim 16-bit elements lie in chunks of 16 bytes, the chunk XORed with the row's last three
// bits: the 8 rows that one ldmatrix phase reads are in 8 different 16-byte columns of the banks,
// transposed or not.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

inline constexpr int kChunkElements = 8;  ///< 16-bit elements in 16 bytes
inline constexpr int kMmaKeys = 16;       ///< keys of one step of P·V, rows of one step of Q·Kᵀ
inline constexpr float kLn2 = 0.693147181F;

/// Byte of a chunk of a row, from the (128-byte aligned) start of the rows.
template <int kDim>
constexpr std::uint32_t chunk_offset(int row, int chunk) {
  return static_cast<std::uint32_t>((row * (kDim / kChunkElements) + (chunk ^ (row % 8))) * 16);
}

/// sum += a · b, in bf16 or fp16.
template <bool kBf16, typename Lane>
__device__ void multiply_half(Lane& lane, float (&sum)[4], const std::uint32_t (&a)[4],
                              std::uint32_t b0, std::uint32_t b1) {
  if constexpr (kBf16) {
    lane.multiply(sum, a, b0, b1);
  } else {
    lane.multiply_fp16(sum, a, b0, b1);
  }
}
template <bool kBf16, typename Lane>
__device__ std::uint32_t pack_half(Lane& lane, float low, float high) {
  if constexpr (kBf16) {
    return lane.pack_bf16(low, high);
  } else {
    return lane.pack_fp16(low, high);
  }
}

/// Fragments of 16 rows of q [rows, kDim] from `first` on; rows from `rows` on are zero.
template <int kDim, typename Lane>
__device__ void load_q_rows(Lane& lane, const std::uint16_t* q, std::int64_t first,
                            std::int64_t rows, std::uint32_t (&fragments)[kDim / 16][4]) {
  const int l = lane.thread() % kWarpLanes;
#pragma unroll
  for (int k16 = 0; k16 < kDim / 16; ++k16) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Element e = mma_a16(l, i, 0);
      const std::int64_t row = first + e.row;
      fragments[k16][i] = row < rows ? lane.load_pair(q + row * kDim + 16 * k16 + e.column) : 0;
    }
  }
}

/// low and high += q · kᵀ for the 16 keys whose rows begin at byte `keys`: 8 keys each.
template <int kDim, bool kBf16, typename Lane>
__device__ void multiply_keys(Lane& lane, std::uint32_t keys,
                              const std::uint32_t (&q)[kDim / 16][4], float (&low)[4],
                              float (&high)[4]) {
  const RowChunk at = ldmatrix_b(lane.thread() % kWarpLanes);
#pragma unroll
  for (int k16 = 0; k16 < kDim / 16; ++k16) {
    std::uint32_t b[4];
    lane.load_matrices(b, keys + chunk_offset<kDim>(at.row, 2 * k16 + at.chunk));
    multiply_half<kBf16>(lane, low, q[k16], b[0], b[1]);
    multiply_half<kBf16>(lane, high, q[k16], b[2], b[3]);
  }
}

/// o += p · v for the 16 keys whose rows begin at byte `values`; p as chained from the logits.
template <int kDim, bool kBf16, typename Lane>
__device__ void multiply_values(Lane& lane, std::uint32_t values, const float (&low)[4],
                                const float (&high)[4], float (&o)[kDim / 8][4]) {
  const std::uint32_t a[4] = {
      pack_half<kBf16>(lane, low[0], low[1]), pack_half<kBf16>(lane, low[2], low[3]),
      pack_half<kBf16>(lane, high[0], high[1]), pack_half<kBf16>(lane, high[2], high[3])};
  const RowChunk at = ldmatrix_b_transposed(lane.thread() % kWarpLanes);
#pragma unroll
  for (int n16 = 0; n16 < kDim / 16; ++n16) {
    std::uint32_t b[4];
    lane.load_matrices_transposed(b, values + chunk_offset<kDim>(at.row, 2 * n16 + at.chunk));
    multiply_half<kBf16>(lane, o[2 * n16], a, b[0], b[1]);
    multiply_half<kBf16>(lane, o[2 * n16 + 1], a, b[2], b[3]);
  }
}

/// Online softmax of the two rows that a lane holds accumulators of, g and g + 8 of 16. Weights are
/// 2^(scale · logit − …): `scale` > 0 is the same in every call.
struct MmaSoftmax {
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  ///< of this lane's keys alone until `finish`

  /// Logits become weights; `rescale` is what o so far has to be multiplied by.
  template <int kBlocks, typename Lane>
  __device__ void take(Lane& lane, float scale, float (&logits)[kBlocks][4], float (&rescale)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float above = maximum[r];
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        above = fmaxf(above, fmaxf(logits[n][2 * r], logits[n][2 * r + 1]));
      }
      above = fmaxf(above, lane.exchange(above, 1));
      above = fmaxf(above, lane.exchange(above, 2));
      // No key so far: any finite base gives weights of 0.
      const float base = above == -INFINITY ? 0 : scale * above;
      rescale[r] = lane.exp2(fmaf(maximum[r], scale, -base));
      maximum[r] = above;
      float own = sum[r] * rescale[r];
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          logits[n][i] = lane.exp2(fmaf(logits[n][i], scale, -base));
          own += logits[n][i];
        }
      }
      sum[r] = own;
    }
  }

  /// Sums over the lanes that share a row.
  template <typename Lane>
  __device__ void finish(Lane& lane) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      sum[r] += lane.exchange(sum[r], 1);
      sum[r] += lane.exchange(sum[r], 2);
    }
  }
};

template <int kBlocks>
__device__ void rescale_rows(float (&o)[kBlocks][4], const float (&rescale)[2]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) o[n][i] *= rescale[i / 2];
  }
}

/// Maximum (in powers of 2) and sum of the weights of some keys of one row.
struct alignas(8) RowEnds {
  float maximum = -INFINITY;
  float sum = 0;
};
/// What a part's sums count for beside others with maxima up to `maximum`.
template <typename Lane>
__device__ float weight_beside(Lane& lane, float part, float maximum) {
  return lane.exp2(part - (maximum == -INFINITY ? 0 : maximum));
}
/// A row without keys: 0 and −∞. A NaN sum stays one.
__device__ inline float row_output(float value, float sum) { return sum == 0 ? 0 : value / sum; }
__device__ inline float row_lse(const RowEnds& ends) {
  return ends.sum == 0 ? -INFINITY : kLn2 * (ends.maximum + log2f(ends.sum));
}

}  // namespace pareto::cuda
