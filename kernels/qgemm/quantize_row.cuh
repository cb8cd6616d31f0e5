// Quantization of one row by one warp or one block, shared with the host emulator (which defines
// __device__ as nothing): the codes and scales of reference/quantize.h.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_maps.h"
#include "kernels/warp_reduce.cuh"

namespace pareto::cuda {

/// Largest code of a type, what its products are summed in, and a quotient rounded to it, ties to
/// even, saturating.
struct CodesS8 {
  using Code = std::int8_t;
  using Sum = std::int32_t;
  static constexpr double kLargest = 127;
  static constexpr bool kWholeNumbers = true;
  static __device__ Code of(double quotient) {
    return static_cast<Code>(fmin(fmax(rint(quotient), -kLargest), kLargest));
  }
};

/// Codes::of(value / scale), the quotient in fp64; `inverse` is 1 / scale in fp32. Whole numbers
/// are mostly known without the division: value · inverse is off by less than 2^-15, so that its
/// nearest whole number is the quotient's unless it lies closer than that to a tie. The comparison
/// is false for what is not finite.
template <typename Codes>
__device__ typename Codes::Code code_of(float value, float scale, float inverse) {
  if constexpr (Codes::kWholeNumbers) {
    const float estimate = value * inverse;
    const float nearest = rintf(estimate);
    if (fabsf(estimate) < 127.4F && fabsf(estimate - nearest) < 0.4999F) {
      return static_cast<typename Codes::Code>(nearest);
    }
  }
  // A subnormal amax may round to a scale of 0, whose codes are 0.
  return scale == 0 ? typename Codes::Code{0} : Codes::of(double{value} / double{scale});
}
template <typename Codes>
__device__ float scale_of_amax(float amax) {
  return amax == 0 ? 1 : static_cast<float>(double{amax} / Codes::kLargest);
}

/// `count` values by the warp of `lane`: codes, and one scale amax/largest, which lane 0 writes.
template <typename Codes, typename Lane>
__device__ void quantize_values(Lane& lane, const float* in, std::int64_t count,
                                typename Codes::Code* codes, float* scale_out) {
  const int l = lane.thread() % kWarpLanes;
  float amax = 0;
  for (std::int64_t k = l; k < count; k += kWarpLanes) amax = fmaxf(amax, fabsf(in[k]));
  amax = warp_max(lane, amax);
  const float scale = scale_of_amax<Codes>(amax);
  const float inverse = 1 / scale;
  if (l == 0) *scale_out = scale;
  for (std::int64_t k = l; k < count; k += kWarpLanes) {
    codes[k] = code_of<Codes>(in[k], scale, inverse);
  }
}

inline constexpr int kQuantizeThreads = 256;
inline constexpr int kQuantizeSharedBytes = kQuantizeThreads / kWarpLanes * 4;

/// A row of K values, a multiple of 4, by a block of kQuantizeThreads; `in` is 16-byte aligned,
/// `codes` 4-byte. Reads the row twice: it stays in L1.
template <typename Codes, typename Lane>
__device__ void quantize_row_by_block(Lane& lane, const float* in, std::int64_t K,
                                      typename Codes::Code* codes, float* scale_out) {
  struct alignas(16) Values {
    float each[4];
  };
  struct alignas(4) FourCodes {
    typename Codes::Code each[4];
  };
  static_assert(sizeof(FourCodes) == 4);
  const auto* values = reinterpret_cast<const Values*>(in);
  auto* to = reinterpret_cast<FourCodes*>(codes);
  float amax = 0;
#pragma unroll 4
  for (std::int64_t i = lane.thread(); i < K / 4; i += kQuantizeThreads) {
    const Values v = values[i];
    for (const float value : v.each) amax = fmaxf(amax, fabsf(value));
  }
  amax = warp_max(lane, amax);
  const int warp = lane.thread() / kWarpLanes;
  if (lane.thread() % kWarpLanes == 0) {
    lane.store_shared(static_cast<std::uint32_t>(4 * warp), amax);
  }
  lane.barrier();
  for (std::uint32_t at = 0; at < kQuantizeSharedBytes; at += 4) {
    amax = fmaxf(amax, lane.load_shared(at));
  }
  const float scale = scale_of_amax<Codes>(amax);
  const float inverse = 1 / scale;
  if (lane.thread() == 0) *scale_out = scale;
#pragma unroll 4
  for (std::int64_t i = lane.thread(); i < K / 4; i += kQuantizeThreads) {
    const Values v = values[i];
    FourCodes four;
    for (int e = 0; e < 4; ++e) four.each[e] = code_of<Codes>(v.each[e], scale, inverse);
    to[i] = four;
  }
}

/// Thread `index` of the grid; warp w quantizes row w of x [M,K] to codes [M,K], scales [M].
template <typename Codes, typename Lane>
__device__ void quantize_row(Lane& lane, std::int64_t index, std::int64_t M, std::int64_t K,
                             const float* x, typename Codes::Code* codes, float* scales) {
  const std::int64_t row = index / kWarpLanes;
  if (row >= M) return;  // whole warps
  quantize_values<Codes>(lane, x + row * K, K, codes + row * K, scales + row);
}

/// The same with one scale per `group` of a row, the last may be short: warp w quantizes group w %
/// ⌈K/group⌉ of row w / ⌈K/group⌉. Scales lie by group, [⌈K/group⌉,M].
template <typename Codes, typename Lane>
__device__ void quantize_row_group(Lane& lane, std::int64_t index, std::int64_t M, std::int64_t K,
                                   std::int64_t group, const float* x, typename Codes::Code* codes,
                                   float* scales) {
  const MatrixPlace place = matrix_place(index / kWarpLanes, ceil_div(K, group));
  if (place.row >= M) return;  // whole warps
  const std::int64_t first = place.column * group;
  const std::int64_t count = K - first < group ? K - first : group;
  quantize_values<Codes>(lane, x + place.row * K + first, count, codes + place.row * K + first,
                         scales + place.column * M + place.row);
}

}  // namespace pareto::cuda
