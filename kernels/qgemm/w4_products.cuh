// The kernel on w4_tile.cuh: units of work shared out evenly over all blocks, and the sums of tiles
// that several blocks worked on.
#pragma once

#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/qgemm/stream_lane.cuh"
#include "kernels/qgemm/w4_tile.cuh"

namespace pareto {

// One thread, with what the tile loop needs beside stream_lane.cuh.
template <bool kBf16>
class W4Lane : public cuda::StreamLane<kBf16> {
 public:
  __device__ explicit W4Lane(unsigned char* shared)
      : cuda::StreamLane<kBf16>(shared),
        shared_(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))) {}

  // volatile: the compiler would fetch the operands of many products ahead, and run out of
  // registers.
  __device__ void load_words(std::uint32_t (&to)[4], std::uint32_t offset) const {
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_ + offset)
                 : "memory");
  }
  __device__ void load_words(std::uint32_t (&to)[2], std::uint32_t offset) const {
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];\n"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(shared_ + offset)
                 : "memory");
  }

 private:
  std::uint32_t shared_;
};

// Tiles of y that several blocks work on.
struct SplitTiles {
  std::int64_t units = 0;
  float* sums = nullptr;           // [blocks][2][kM][128]
  unsigned* parts_done = nullptr;  // [tiles], zero between calls
};

// Adds up the parts of a tile; true in the block that came last and has the sum, in its shared
// memory.
template <class T, typename Lane>
__device__ bool join_parts(Lane& lane, const SplitTiles& split, std::int64_t tile,
                           std::int64_t steps) {
  constexpr int kTileFloats = T::kM * cuda::kW4Rows;
  const std::int64_t blocks = gridDim.x;
  const std::int64_t first = cuda::w4_block_of(tile * steps, split.units, blocks);
  const std::int64_t last = cuda::w4_block_of((tile + 1) * steps - 1, split.units, blocks);
  if (first == last) return true;
  const auto part_of = [&](std::int64_t block) {
    const std::int64_t unit = cuda::w4_first_unit(block, split.units, blocks);
    return split.sums + (2 * block + cuda::w4_slot(tile, unit, steps)) * kTileFloats;
  };
  float* own = part_of(blockIdx.x);
  for (int e = lane.thread(); e < kTileFloats; e += cuda::kW4Threads) {
    own[e] =
        lane.load_shared(T::kSumsAt + cuda::w4_sum_offset(e / cuda::kW4Rows, e % cuda::kW4Rows));
  }
  __threadfence();
  lane.barrier();
  const auto parts = static_cast<unsigned>(last - first + 1);
  unsigned done = 0;
  if (lane.thread() == 0) {
    done = atomicAdd(split.parts_done + tile, 1U) + 1;
    if (done == parts) split.parts_done[tile] = 0;  // for the next call
  }
  if (__syncthreads_or(done == parts) == 0) return false;
  __threadfence();
  float total[kTileFloats / cuda::kW4Threads] = {};
#pragma unroll 1
  for (std::int64_t block = first; block <= last; ++block) {
    const float* part = part_of(block) + lane.thread();
#pragma unroll
    for (int i = 0; i < kTileFloats / cuda::kW4Threads; ++i) {
      total[i] += __ldcg(part + i * cuda::kW4Threads);
    }
  }
#pragma unroll
  for (int i = 0; i < kTileFloats / cuda::kW4Threads; ++i) {
    const int e = lane.thread() + i * cuda::kW4Threads;
    lane.store_shared(T::kSumsAt + cuda::w4_sum_offset(e / cuda::kW4Rows, e % cuda::kW4Rows),
                      total[i]);
  }
  return true;  // each thread has written what it stores to y itself
}

template <class T, bool kBf16>
__global__ void __launch_bounds__(cuda::kW4Threads, T::kBlocksAtOnce)
    w4_products(cuda::W4Problem p, SplitTiles split, DeviceEpilogue epilogue) {
  extern __shared__ __align__(128) unsigned char stages[];
  W4Lane<kBf16> lane(stages);
  const std::int64_t first = cuda::w4_first_unit(blockIdx.x, split.units, gridDim.x);
  const std::int64_t end = cuda::w4_first_unit(blockIdx.x + 1, split.units, gridDim.x);
  cuda::w4_units<T>(lane, p, first, end, [&](int x_block, int row_block) {
    if (!join_parts<T>(lane, split, std::int64_t{x_block} * p.row_blocks + row_block, p.steps)) {
      return;
    }
#pragma unroll 1
    for (int e = lane.thread(); e < T::kM * cuda::kW4Rows; e += cuda::kW4Threads) {
      const std::int64_t m = std::int64_t{x_block} * T::kM + e / cuda::kW4Rows;
      const std::int64_t n = std::int64_t{row_block} * cuda::kW4Rows + e % cuda::kW4Rows;
      if (m >= p.M || n >= p.N) continue;
      epilogue.store(
          m * p.N + n, n,
          lane.load_shared(T::kSumsAt + cuda::w4_sum_offset(e / cuda::kW4Rows, e % cuda::kW4Rows)));
    }
  });
}

}  // namespace pareto
