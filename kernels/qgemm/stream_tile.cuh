// Few rows of x: weights stream from memory into registers, as operands of mma.sync, and no block
// waits for another. Written once, for the device and for the host emulator; stream_lane.cuh says
// what a `Lane` has beside cuda_lane.cuh.
//
// A block has some rows of w, its warps share K: warp i takes steps i, i + warps, … of 64 k. Each
// keeps the operands of its next steps on their way in registers; there is no barrier but the one
// before the warps' sums are added up, in their order. Weights are the M side of the product, so
// that few rows of x waste little. Which k stands where in a fragment is free as long as x agrees:
// lane member t takes 8 neighbouring k of each 32, 16 bytes of w and of x (w4_k).
#pragma once

#include <cstdint>

#include "kernels/cuda_maps.h"
#include "kernels/cuda_mma_maps.h"
#include "kernels/qgemm/w4_layout.h"

namespace pareto::cuda {

inline constexpr int kStreamK = 64;  ///< of a step

/// y[M,N] = x[M,K] · w[N,K]ᵀ, K a multiple of 8, rows of x 16-byte aligned.
struct StreamProblem {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  const std::uint16_t* x = nullptr;
  const std::uint16_t* w = nullptr;       ///< as `Weights` says
  const std::uint16_t* scales = nullptr;  ///< of 4-bit weights
};

/// What one lane needs of one step, for `Tiles` times 16 rows of w and `Blocks8` times 8 of x.
template <class Weights, int Tiles, int Blocks8>
struct StreamStep {
  std::uint32_t w[Tiles][Weights::kWords / 4][4];
  std::uint32_t scales[(Tiles + 1) / 2][Weights::kScaleWords == 0 ? 1 : Weights::kScaleWords];
  std::uint32_t x[Blocks8][2][4];  ///< of each 32 k
};

/// w [N,K] of 16-bit elements as given, rows 16-byte aligned.
struct DenseWeights {
  static constexpr int kWords = 16;  ///< of a lane, in a step and 16 rows: [k32 2][row half 2][4]
  static constexpr int kScaleWords = 0;

  /// Where a lane's next step begins. Rows beyond the last stand for it: their sums go nowhere.
  template <int kTiles>
  struct From {
    const std::uint16_t* rows[kTiles][2];

    __device__ From(const StreamProblem& p, std::int64_t row, int lane, int step) {
#pragma unroll
      for (int i = 0; i < 2 * kTiles; ++i) {
        const std::int64_t r = row + group_of(lane) + 8 * i;
        rows[i / 2][i % 2] =
            p.w + (r < p.N ? r : p.N - 1) * p.K + step * kStreamK + 8 * member_of(lane);
      }
    }
    __device__ void advance(int steps) {
#pragma unroll
      for (auto& of_tile : rows) {
        of_tile[0] += steps * kStreamK;
        of_tile[1] += steps * kStreamK;
      }
    }
  };
  /// `ahead` steps later; `left` elements of K from the lane's first on.
  template <typename Lane, typename Step, int kTiles>
  static __device__ void load(Lane& lane, const From<kTiles>& from, int ahead, int left, Step& to) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int k = ahead * kStreamK + 32 * (i / 2);
        lane.load_once(to.w[tile][i], from.rows[tile][i % 2] + k, left > k);
      }
    }
  }
  template <typename Lane, typename Step, int kTiles, int kBlocks8>
  static __device__ void multiply(Lane& lane, const Step& at, float (&sum)[kTiles][kBlocks8][4]) {
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const int e = s / 2;
      const int pair = 2 * (s % 2);
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const auto& w = at.w[tile];
        const std::uint32_t a[4] = {w[2 * e][pair], w[2 * e + 1][pair], w[2 * e][pair + 1],
                                    w[2 * e + 1][pair + 1]};
#pragma unroll
        for (int block = 0; block < kBlocks8; ++block) {
          lane.multiply_pairs(sum[tile][block], a, at.x[block][e][pair], at.x[block][e][pair + 1]);
        }
      }
    }
  }
};

/// Codes as w4_layout.h packs them, with one scale per `Group` of k; two tiles at a time.
template <int Group>
struct W4Weights {
  static constexpr int kWords = 4;
  static constexpr int kScaleWords = Group == 32 ? 4 : 2;  ///< of two tiles: [k32][tile 2]

  template <int kTiles>
  struct From {
    const std::uint16_t* words;
    const std::uint16_t* scales;

    __device__ From(const StreamProblem& p, std::int64_t row, int lane, int step) {
      const std::int64_t unit = row / kW4Rows * ceil_div(p.K, kW4K) + step / 2;
      const int tile = static_cast<int>(row % kW4Rows / 16);
      const int k64 = step % 2;
      words = p.w + unit * (2 * kW4UnitWords) + 8 * ((tile * 2 + k64) * kWarpLanes + lane);
      scales = p.scales + unit * w4_unit_scales(Group) +
               w4_scale_offset(tile / 2, k64, group_of(lane), Group) / 2;
    }
    __device__ void advance(int steps) {
      words += steps / 2 * (2 * kW4UnitWords);
      scales += steps / 2 * w4_unit_scales(Group);
    }
  };
  /// `ahead` is even.
  template <typename Lane, typename Step, int kTiles>
  static __device__ void load(Lane& lane, const From<kTiles>& from, int ahead, int left, Step& to) {
    // Of all lanes, if of any: codes of zero are 8.
    const bool valid = left + 8 * member_of(lane.thread() % kWarpLanes) > ahead * kStreamK;
    const std::uint16_t* words = from.words + ahead / 2 * (2 * kW4UnitWords);
    const std::uint16_t* scales = from.scales + ahead / 2 * w4_unit_scales(Group);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      lane.load_once(to.w[tile][0], words + tile * (16 * kWarpLanes), valid);
    }
#pragma unroll
    for (int pair = 0; pair < kTiles / 2; ++pair) {
      constexpr int kPair = (w4_scale_offset(1, 0, 0, Group) - w4_scale_offset(0, 0, 0, Group)) / 2;
      lane.load_once(to.scales[pair], scales + pair * kPair, valid);
    }
  }
  template <typename Lane, typename Step, int kTiles, int kBlocks8>
  static __device__ void multiply(Lane& lane, const Step& at, float (&sum)[kTiles][kBlocks8][4]) {
    static_assert(kTiles % 2 == 0);
    constexpr int kParts = Group == 32 ? 2 : 1;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        float products[kBlocks8][4] = {};
#pragma unroll
        for (int s = 4 / kParts * part; s < 4 / kParts * (part + 1); ++s) {
          const std::uint32_t word = at.w[tile][0][s];
          std::uint32_t a[4];
#pragma unroll
          for (int q = 0; q < 4; ++q) a[q] = lane.decode_pairs(word >> (4 * q));
#pragma unroll
          for (int block = 0; block < kBlocks8; ++block) {
            const auto& x = at.x[block][s / 2];
            lane.multiply_pairs(products[block], a, x[2 * (s % 2)], x[2 * (s % 2) + 1]);
          }
        }
        const std::uint32_t both = at.scales[tile / 2][2 * part + tile % 2];
        const float scale[2] = {lane.float_of_half(static_cast<std::uint16_t>(both)),
                                lane.float_of_half(static_cast<std::uint16_t>(both >> 16U))};
#pragma unroll
        for (int block = 0; block < kBlocks8; ++block) {
#pragma unroll
          for (int i = 0; i < 4; ++i) sum[tile][block][i] += scale[i / 2] * products[block][i];
        }
      }
    }
  }
};

/// A block's tile of y: 16 · Tiles rows of w × 8 · Blocks8 rows of x; `Depth` steps of a warp are
/// on their way at once, `AtOnce` blocks run on a multiprocessor.
template <class W, int Tiles, int Blocks8, int Depth, int AtOnce>
struct StreamTile {
  static constexpr int kBlocksAtOnce = AtOnce;
  using Weights = W;
  using Step = StreamStep<W, Tiles, Blocks8>;
  static constexpr int kTiles = Tiles;
  static constexpr int kBlocks8 = Blocks8;
  static constexpr int kDepth = Depth;
  static constexpr int kWarps = 8;  ///< even: a warp of W4Weights stays in one half of its units
  static constexpr int kThreads = kWarps * kWarpLanes;
  static constexpr int kRows = 16 * Tiles;
  static constexpr int kM = 8 * Blocks8;
  /// Of the sums [warps][kM][kRows]: 4 floats more in a row, so that members of a lane group meet
  /// in other banks.
  static constexpr int kStride = kRows + 4;
  static constexpr int kSharedBytes = kWarps * kM * kStride * 4;
  static_assert(kSharedBytes <= 48 * 1024);
};

template <class T>
constexpr std::uint32_t stream_sum_offset(int warp, int m, int row) {
  return static_cast<std::uint32_t>(((warp * T::kM + m) * T::kStride + row) * 4);
}

/// Where a lane's next step begins.
template <class T>
struct StreamFrom {
  typename T::Weights::template From<T::kTiles> w;
  const std::uint16_t* x[T::kBlocks8];
  int left;  ///< elements of K from the lane's first on

  __device__ StreamFrom(const StreamProblem& p, std::int64_t row, std::int64_t first_m, int lane,
                        int step)
      : w(p, row, lane, step), left(static_cast<int>(p.K) - step * kStreamK - 8 * member_of(lane)) {
#pragma unroll
    for (int block = 0; block < T::kBlocks8; ++block) {
      const std::int64_t m = first_m + 8 * block + group_of(lane);
      x[block] = p.x + (m < p.M ? m : p.M - 1) * p.K + step * kStreamK + 8 * member_of(lane);
    }
  }
  __device__ void advance(int steps) {
    w.advance(steps);
#pragma unroll
    for (auto& each : x) each += steps * kStreamK;
    left -= steps * kStreamK;
  }
};

/// Starts the loads of the step `ahead` of `from`: zeros beyond K.
template <class T, typename Lane>
__device__ void load_stream_step(Lane& lane, const StreamFrom<T>& from, int ahead,
                                 typename T::Step& to) {
  T::Weights::load(lane, from.w, ahead, from.left, to);
#pragma unroll
  for (int block = 0; block < T::kBlocks8; ++block) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int k = ahead * kStreamK + 32 * e;
      lane.load_shared_out(to.x[block][e], from.x[block] + k, from.left > k);
    }
  }
}

/// The tile whose first row of w is `row` and first row of x `first_m`; store(m, n, sum) for each
/// of its elements that exists.
template <class T, typename Lane, typename Store>
__device__ void stream_tile(Lane& lane, const StreamProblem& p, std::int64_t row,
                            std::int64_t first_m, const Store& store) {
  const int l = lane.thread() % kWarpLanes;
  const int warp = lane.thread() / kWarpLanes;
  const auto steps = static_cast<int>(ceil_div(p.K, kStreamK));
  float sum[T::kTiles][T::kBlocks8][4] = {};
  typename T::Step ring[T::kDepth];
  StreamFrom<T> from(p, row, first_m, l, warp);
#pragma unroll
  for (int d = 0; d < T::kDepth; ++d) load_stream_step<T>(lane, from, d * T::kWarps, ring[d]);
#pragma unroll 1
  for (int step = warp; step < steps; step += T::kDepth * T::kWarps) {
    from.advance(T::kDepth * T::kWarps);
#pragma unroll
    for (int d = 0; d < T::kDepth; ++d) {  // beyond K all are zero
      T::Weights::multiply(lane, ring[d], sum);
      load_stream_step<T>(lane, from, d * T::kWarps, ring[d]);
    }
  }
#pragma unroll
  for (int tile = 0; tile < T::kTiles; ++tile) {
#pragma unroll
    for (int block = 0; block < T::kBlocks8; ++block) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Element e = mma_d32(l, i);
        lane.store_shared(stream_sum_offset<T>(warp, 8 * block + e.column, 16 * tile + e.row),
                          sum[tile][block][i]);
      }
    }
  }
  lane.barrier();
#pragma unroll 1
  for (int e = lane.thread(); e < T::kM * T::kRows; e += T::kThreads) {
    const int m = e / T::kRows;
    const int n = e % T::kRows;
    if (first_m + m >= p.M || row + n >= p.N) continue;
    float total = 0;
#pragma unroll
    for (int part = 0; part < T::kWarps; ++part) {
      total += lane.load_shared(stream_sum_offset<T>(part, m, n));
    }
    store(first_m + m, row + n, total);
  }
}

}  // namespace pareto::cuda
