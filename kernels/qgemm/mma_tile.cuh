// One tile of y = x · wᵀ in bf16 by a block of 8 warps: mma.sync m16n8k16 on operands that cp.async
// brings into a ring of 3 stages. Written once, for the device and for the host emulator: a `Lane`
// is one thread with its intrinsics (cuda_lane.cuh; the emulator defines __device__ as nothing).
//
// Per stage x [128, 32] and w [128, 32] as stored, 64-byte rows of four 16-byte chunks. The chunk
// is XORed with half the row: the 8 rows that one ldmatrix phase reads then lie in 8 different
// 16-byte columns of the banks. A warp computes [64, 32] of y: 4 × 4 products per 16 of k, 64
// accumulators, 16 ldmatrix registers of x and 8 of w each 16 of k serving 16 products.
#pragma once

#include <cstdint>

#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

/// y[M,N] = x[M,K] · w[N,K]ᵀ, bits of bf16; this block's tile begins at (row, column).
struct MmaProblem {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  const std::uint16_t* x = nullptr;
  const std::uint16_t* w = nullptr;
};

struct MmaTile {
  static constexpr int kM = 128;
  static constexpr int kN = 128;
  static constexpr int kK = 32;
  static constexpr int kThreads = 256;
  static constexpr int kWarpM = 64;
  static constexpr int kWarpN = 32;
  static constexpr int kWarpsN = kN / kWarpN;
  static constexpr int kStages = 3;
  static constexpr int kRows = kM + kN;  ///< of a stage: x, then w
  static constexpr int kChunks = 4;      ///< of 16 bytes, 8 elements, in a row
  static constexpr int kChunkElements = 8;
  static constexpr int kStageBytes = kRows * kChunks * 16;
  /// Row of y's tile in shared memory, in floats: 4 more, so that neighbouring rows lie in other
  /// banks.
  static constexpr int kSumStride = kN + 4;
  static constexpr int kSumBytes = kM * kSumStride * 4;
  static constexpr int kSharedBytes =  ///< 66 KiB: the sums lie where the stages were
      kStages * kStageBytes > kSumBytes ? kStages* kStageBytes : kSumBytes;
  static constexpr int kBlocksM = kWarpM / 16;
  static constexpr int kBlocksN = kWarpN / 8;
};

/// Byte of a chunk within its stage.
constexpr std::uint32_t mma_chunk_offset(int row, int chunk) {
  return static_cast<std::uint32_t>((row * MmaTile::kChunks + (chunk ^ (row / 2 % 4))) * 16);
}

/// Starts this thread's share of the copies of one stage; what lies beyond the matrices is zero.
template <typename Lane>
__device__ void load_mma_stage(Lane& lane, const MmaProblem& p, std::int64_t row,
                               std::int64_t column, std::int64_t k0, int stage) {
  using T = MmaTile;
#pragma unroll
  for (int i = 0; i < T::kRows * T::kChunks / T::kThreads; ++i) {
    const int item = lane.thread() + i * T::kThreads;
    const int line = item / T::kChunks;
    const int chunk = item % T::kChunks;
    const bool of_x = line < T::kM;
    const std::int64_t r = of_x ? row + line : column + line - T::kM;
    const std::int64_t k = k0 + chunk * T::kChunkElements;
    const std::int64_t left = r < (of_x ? p.M : p.N) ? p.K - k : 0;
    const int valid =
        static_cast<int>(left < 0                   ? 0
                         : left < T::kChunkElements ? left
                                                    : std::int64_t{T::kChunkElements});
    const std::uint16_t* from = of_x ? p.x : p.w;
    lane.copy_chunk(
        static_cast<std::uint32_t>(stage * T::kStageBytes) + mma_chunk_offset(line, chunk),
        valid == 0 ? from : from + r * p.K + k, valid, p.K % T::kChunkElements == 0);
  }
}

/// Adds the products of one stage to this thread's accumulators.
template <typename Lane>
__device__ void multiply_mma_stage(Lane& lane, int stage,
                                   float (&sum)[MmaTile::kBlocksM][MmaTile::kBlocksN][4]) {
  using T = MmaTile;
  const int warp = lane.thread() / kWarpLanes;
  const int l = lane.thread() % kWarpLanes;
  const int warp_row = warp / T::kWarpsN * T::kWarpM;
  const int warp_column = warp % T::kWarpsN * T::kWarpN;
  const auto base = static_cast<std::uint32_t>(stage * T::kStageBytes);
#pragma unroll
  for (int k16 = 0; k16 < T::kK / 16; ++k16) {
    std::uint32_t a[T::kBlocksM][4];
    std::uint32_t b[T::kBlocksN / 2][4];  // two blocks of 8 columns each
#pragma unroll
    for (int m = 0; m < T::kBlocksM; ++m) {
      const RowChunk at = ldmatrix_a(l);
      lane.load_matrices(a[m],
                         base + mma_chunk_offset(warp_row + 16 * m + at.row, 2 * k16 + at.chunk));
    }
#pragma unroll
    for (int n = 0; n < T::kBlocksN / 2; ++n) {
      const RowChunk at = ldmatrix_b(l);
      lane.load_matrices(
          b[n], base + mma_chunk_offset(T::kM + warp_column + 16 * n + at.row, 2 * k16 + at.chunk));
    }
#pragma unroll
    for (int m = 0; m < T::kBlocksM; ++m) {
#pragma unroll
      for (int n = 0; n < T::kBlocksN; ++n) {
        lane.multiply(sum[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
      }
    }
  }
}

constexpr std::uint32_t mma_sum_offset(int row, int column) {
  return static_cast<std::uint32_t>((row * MmaTile::kSumStride + column) * 4);
}

/// Accumulators to shared memory, so that rows of y leave in whole lines, and the code of the
/// activation is there once and not 64 times.
template <typename Lane>
__device__ void store_mma_sums(Lane& lane,
                               const float (&sum)[MmaTile::kBlocksM][MmaTile::kBlocksN][4]) {
  using T = MmaTile;
  const int warp = lane.thread() / kWarpLanes;
#pragma unroll
  for (int m = 0; m < T::kBlocksM; ++m) {
#pragma unroll
    for (int n = 0; n < T::kBlocksN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Element e = mma_d32(lane.thread() % kWarpLanes, i);
        lane.store_shared(mma_sum_offset(warp / T::kWarpsN * T::kWarpM + 16 * m + e.row,
                                         warp % T::kWarpsN * T::kWarpN + 8 * n + e.column),
                          sum[m][n][i]);
      }
    }
  }
}

/// The whole tile: calls store(row, column, sum) for this thread's elements inside of y.
template <typename Lane, typename Store>
__device__ void mma_tile(Lane& lane, const MmaProblem& p, std::int64_t row, std::int64_t column,
                         const Store& store) {
  using T = MmaTile;
  float sum[T::kBlocksM][T::kBlocksN][4] = {};
  const std::int64_t steps = (p.K + T::kK - 1) / T::kK;
#pragma unroll
  for (int s = 0; s < T::kStages - 1; ++s) {
    if (s < steps) load_mma_stage(lane, p, row, column, std::int64_t{s} * T::kK, s);
    lane.commit_copies();
  }
  int stage = 0;
  int filled = T::kStages - 1;  // the stage that the next copies go to
  for (std::int64_t step = 0; step < steps; ++step) {
    lane.template wait_copies<T::kStages - 2>();
    // After it this step's stage is there for all, and the last step's stage is free.
    lane.barrier();
    const std::int64_t ahead = step + T::kStages - 1;
    if (ahead < steps) load_mma_stage(lane, p, row, column, ahead * T::kK, filled);
    lane.commit_copies();
    multiply_mma_stage(lane, stage, sum);
    stage = stage + 1 == T::kStages ? 0 : stage + 1;
    filled = filled + 1 == T::kStages ? 0 : filled + 1;
  }
  lane.barrier();  // the last stage has been read by all
  store_mma_sums(lane, sum);
  lane.barrier();
  for (int e = lane.thread(); e < T::kM * T::kN; e += T::kThreads) {
    const std::int64_t r = row + e / T::kN;
    const std::int64_t c = column + e % T::kN;
    const std::uint32_t at = mma_sum_offset(e / T::kN, e % T::kN);
    if (r < p.M && c < p.N) store(r, c, lane.load_shared(at));
  }
}

}  // namespace pareto::cuda
