// The loop of qgemm/cuda_w4a16 over units of 128 rows of w × 128 of k, by a block of 8 warps.
// Written once, for the device and for the host emulator (see cuda_lane.cuh); beside its methods a
// `Lane` here has load_words, float_of_half, decode_pairs (code − 8 of the low 4 bits of both
// halves of a word, in the type of x) and multiply_pairs.
//
// Codes − 8 are exact in 16 bits and so are their products with x in fp32; the scale of a group
// multiplies its sum, in fp32. Weights are the M side of the product, so that few rows of x waste
// little.
#pragma once

#include <cstdint>

#include "kernels/qgemm/w4_layout.h"

namespace pareto::cuda {

/// y[M,N] = x[M,K] · w[N,K]ᵀ with w packed as w4_layout.h says. A tile of y is one block of kM rows
/// of x by one block of 128 rows of w.
struct W4Problem {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  int steps = 0;       ///< units along K
  int row_blocks = 0;  ///< units along N
  const std::uint16_t* x = nullptr;
  const std::uint16_t* w = nullptr;       ///< [row_blocks][steps][kW4UnitWords words]
  const std::uint16_t* scales = nullptr;  ///< [row_blocks][steps][w4_unit_scales]
};

/// A place in the order of units: k fastest, then row blocks of w, then blocks of x. Kept up to
/// date step by step: divisions of 64 bits would cost more than the products of a unit.
struct W4Cursor {
  int step = 0;
  int row_block = 0;
  int x_block = 0;

  __device__ W4Cursor(const W4Problem& p, std::int64_t unit)
      : step(static_cast<int>(unit % p.steps)),
        row_block(static_cast<int>(unit / p.steps % p.row_blocks)),
        x_block(static_cast<int>(unit / p.steps / p.row_blocks)) {}
  __device__ void advance(const W4Problem& p) {
    if (++step < p.steps) return;
    step = 0;
    if (++row_block < p.row_blocks) return;
    row_block = 0;
    ++x_block;
  }
};

/// Starts this thread's share of the copies of one unit.
template <class T, typename Lane>
__device__ void load_w4_unit(Lane& lane, const W4Problem& p, const W4Cursor& at, int stage) {
  const std::int64_t stored = std::int64_t{at.row_block} * p.steps + at.step;
  const auto base = static_cast<std::uint32_t>(stage * T::kStageBytes);
  const int thread = lane.thread();
#pragma unroll
  for (int chunk = 0; chunk < T::kWBytes / 16; chunk += kW4Threads) {
    lane.copy_chunk(base + static_cast<std::uint32_t>(16 * (chunk + thread)),
                    p.w + stored * (2 * kW4UnitWords) + 8 * (chunk + thread), 8, true);
  }
  if (thread < T::kScaleBytes / 16) {
    lane.copy_chunk(base + static_cast<std::uint32_t>(T::kWBytes + T::kXBytes + 16 * thread),
                    p.scales + stored * w4_unit_scales(T::kGroup) + 8 * thread, 8, true);
  }
  const std::int64_t first_row = std::int64_t{at.x_block} * T::kM;
#pragma unroll
  for (int first = 0; first < T::kXBytes / 16; first += kW4Threads) {
    const int item = first + thread;
    if (T::kXBytes / 16 < kW4Threads && item >= T::kXBytes / 16) break;
    const int row = item / 16;
    const int chunk = item % 16;
    const std::int64_t k = std::int64_t{at.step} * kW4K + 8 * chunk;
    const std::int64_t left = first_row + row < p.M ? p.K - k : 0;
    const int valid = static_cast<int>(left < 0 ? 0 : left < 8 ? left : std::int64_t{8});
    lane.copy_chunk(base + static_cast<std::uint32_t>(T::kWBytes) +
                        w4_x_offset(T::kM, row, chunk / 8, chunk % 8),
                    valid == 0 ? p.x : p.x + (first_row + row) * p.K + k, valid, p.K % 8 == 0);
  }
}

/// The A fragments of one step, of a word of 8 codes.
template <typename Lane>
__device__ void decode_w4(Lane& lane, std::uint32_t word, std::uint32_t (&a)[4]) {
#pragma unroll
  for (int q = 0; q < 4; ++q) {
    a[q] = lane.decode_pairs(word >> (4 * q));
  }
}

/// Adds the products of one stage to this thread's sums: 2 tiles of 16 rows of w × kM rows of x.
template <class T, typename Lane>
__device__ void multiply_w4_unit(Lane& lane, int stage, float (&sum)[2][T::kBlocks8][4]) {
  const int l = lane.thread() % kWarpLanes;
  const int warp = lane.thread() / kWarpLanes;
  const int row_warp = warp % kW4RowWarps;
  const int k64 = warp / kW4RowWarps;
  const auto base = static_cast<std::uint32_t>(stage * T::kStageBytes);
  // The 64 k in one part, or in two: as groups of 32, or to keep fewer decoded weights at once.
  constexpr int kParts = T::kGroup == 32 || T::kBlocks8 >= 4 ? 2 : 1;
  constexpr int kSteps = 4 / kParts;
  constexpr int kScaleStep = T::kGroup == 32 ? 8 : 0;
#pragma unroll 1
  for (int part = 0; part < kParts; ++part) {
    std::uint32_t a[2][kSteps][4];
    std::uint32_t scale_words[2];
    float scale[2][2];
    lane.load_words(scale_words, base + static_cast<std::uint32_t>(T::kWBytes + T::kXBytes) +
                                     w4_scale_offset(row_warp, k64, group_of(l), T::kGroup) +
                                     static_cast<std::uint32_t>(kScaleStep * part));
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
      std::uint32_t words[kSteps];
      const int chunk = ((2 * row_warp + tile) * 2 + k64) * 32 + l;
      lane.load_words(words, base + static_cast<std::uint32_t>(16 * chunk + 4 * kSteps * part));
#pragma unroll
      for (int s = 0; s < kSteps; ++s) decode_w4(lane, words[s], a[tile][s]);
      scale[tile][0] = lane.float_of_half(static_cast<std::uint16_t>(scale_words[tile]));
      scale[tile][1] = lane.float_of_half(static_cast<std::uint16_t>(scale_words[tile] >> 16U));
    }
#pragma unroll
    for (int block = 0; block < T::kBlocks8; ++block) {
      float products[2][4] = {};
#pragma unroll
      for (int pair = 0; pair < kSteps / 2; ++pair) {
        std::uint32_t b[4];
        const int chunk = 4 * (part * kSteps / 2 + pair) + member_of(l);
        lane.load_words(b, base + static_cast<std::uint32_t>(T::kWBytes) +
                               w4_x_offset(T::kM, 8 * block + group_of(l), k64, chunk));
#pragma unroll
        for (int s = 0; s < 2; ++s) {
          lane.multiply_pairs(products[0], a[0][2 * pair + s], b[2 * s], b[2 * s + 1]);
          lane.multiply_pairs(products[1], a[1][2 * pair + s], b[2 * s], b[2 * s + 1]);
        }
      }
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sum[tile][block][i] += scale[tile][i / 2] * products[tile][i];
        }
      }
    }
  }
}

/// Sums of both halves of k to shared memory, [kM][128]; cleared for the next tile.
template <class T, typename Lane>
__device__ void gather_w4_sums(Lane& lane, float (&sum)[2][T::kBlocks8][4]) {
  const int l = lane.thread() % kWarpLanes;
  const int warp = lane.thread() / kWarpLanes;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (warp / kW4RowWarps == half) {
#pragma unroll
      for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
        for (int block = 0; block < T::kBlocks8; ++block) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const Element e = mma_d32(l, i);
            const std::uint32_t at =
                T::kSumsAt +
                w4_sum_offset(8 * block + e.column, 32 * (warp % kW4RowWarps) + 16 * tile + e.row);
            const float value = sum[tile][block][i];
            lane.store_shared(at, half == 0 ? value : lane.load_shared(at) + value);
            sum[tile][block][i] = 0;
          }
        }
      }
    }
    lane.barrier();
  }
}

/// Units [first, end) of the problem. After the last one of each tile, and after the very last,
/// flush(x_block, row_block) is called by all threads, with the sums [kM][128] (w4_sum_offset) at
/// kSumsAt; it may contain barriers.
template <class T, typename Lane, typename Flush>
__device__ void w4_units(Lane& lane, const W4Problem& p, std::int64_t first, std::int64_t end,
                         const Flush& flush) {
  const auto count = static_cast<int>(end - first);
  if (count == 0) return;
  float sum[2][T::kBlocks8][4] = {};
  W4Cursor loaded(p, first);
  W4Cursor at = loaded;
#pragma unroll 1
  for (int s = 0; s < T::kStages - 1; ++s) {
    if (s < count) {
      load_w4_unit<T>(lane, p, loaded, s);
      loaded.advance(p);
    }
    lane.commit_copies();
  }
  int stage = 0;
  int filled = T::kStages - 1;  // the stage that the next copies go to
#pragma unroll 1
  for (int done = 0; done < count; ++done) {
    lane.template wait_copies<T::kStages - 2>();
    // After it this unit's stage is there for all, and the last unit's stage is free; so are the
    // sums in shared memory that a flush has read.
    lane.barrier();
    if (done + T::kStages - 1 < count) {
      load_w4_unit<T>(lane, p, loaded, filled);
      loaded.advance(p);
    }
    lane.commit_copies();
    multiply_w4_unit<T>(lane, stage, sum);
    stage = stage + 1 == T::kStages ? 0 : stage + 1;
    filled = filled + 1 == T::kStages ? 0 : filled + 1;
    if (done + 1 == count || at.step + 1 == p.steps) {
      gather_w4_sums<T>(lane, sum);
      flush(at.x_block, at.row_block);
    }
    at.advance(p);
  }
}

}  // namespace pareto::cuda
