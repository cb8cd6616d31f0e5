// Device side of qgemm/cuda_wgmma: one warpgroup loads, the others multiply, all blocks stay.
#pragma once

#include "kernels/cuda_pipeline.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/hopper_asm.cuh"
#include "kernels/qgemm/wgmma_layout.h"
#include "kernels/qgemm/wgmma_products.cuh"

namespace pareto::cuda {

/// y[M,N] = f(x[M,K] · w[N,K]ᵀ + bias).
struct GemmShape {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
};

/// Addresses of a ring of stages in shared memory: x [kM] and w [kN] rows of one span of k, and its
/// barriers.
template <class T>
struct WgmmaStages {
  std::uint32_t base = 0;

  __device__ std::uint32_t x(int stage) const {
    return base + static_cast<std::uint32_t>(stage * T::kStageBytes);
  }
  __device__ std::uint32_t w(int stage) const { return x(stage) + T::kXBytes; }
  __device__ std::uint32_t full(int stage) const {
    return base + static_cast<std::uint32_t>(T::kBarriersAt + 8 * stage);
  }
  __device__ std::uint32_t empty(int stage) const { return full(stage) + 8 * T::kStages; }
};

/// Elements of k in a stage.
template <class T, WgmmaType kType>
constexpr int span_elements() {
  return kType == WgmmaType::kS8 ? T::kRowBytes : T::kRowBytes / 2;
}

/// Scales of integer sums: x_scale [M], w_scale [N]. Sums of floats have none.
struct WgmmaScales {
  const float* x = nullptr;
  const float* w = nullptr;
};

/// Loads the stages of one tile, for `produce`. By one thread.
template <class T, WgmmaType kType>
struct WgmmaLoader {
  WgmmaStages<T> stages;
  const CUtensorMap& x;
  const CUtensorMap& w;
  std::uint32_t rank = 0;  ///< of this block in its cluster
  int row = 0;
  int column = 0;

  __device__ void wait_empty(int stage, std::uint32_t parity) {
    mbarrier_wait(stages.empty(stage), parity);
  }
  __device__ void load(int stage, std::int64_t step) {
    const std::uint32_t full = stages.full(stage);
    const int k = static_cast<int>(step) * span_elements<T, kType>();
    mbarrier_expect(full, T::kStageBytes);  // what peers load counts here, too
    tma_load(stages.x(stage), x, k, row, full);
    if constexpr (T::kCluster == 1) {
      tma_load(stages.w(stage), w, k, column, full);
    } else {
      constexpr int kShare = T::kN / T::kCluster;
      const int first = static_cast<int>(rank) * kShare;
      tma_load_multicast(stages.w(stage) + first * 128, w, k, column + first, full,
                         (1U << T::kCluster) - 1);
    }
  }
};

/// Multiplies the stages of one tile, for `consume`. By a warpgroup.
template <class T, WgmmaType kType>
struct WgmmaMultiplier {
  WgmmaStages<T> stages;
  int group = 0;
  WgmmaSum<kType> (&sum)[T::kSums];

  __device__ __forceinline__ void wait_full(int stage, std::uint32_t parity) {
    mbarrier_wait(stages.full(stage), parity);
  }
  __device__ __forceinline__ void multiply(int stage, std::int64_t /*step*/) {
    constexpr Swizzle kSwizzle = Swizzle::k128;
    const std::uint64_t a = encoded(
        k_major(stages.x(stage) + static_cast<std::uint32_t>(group * 64 * 128), 64, kSwizzle));
    const std::uint64_t b = encoded(k_major(stages.w(stage), T::kN, kSwizzle));
    pin(sum);
    wgmma_fence();
#pragma unroll
    for (unsigned part = 0; part < T::kRowBytes / 32; ++part) {
      const std::uint64_t step = part * descriptor_field(k_major_step(64, kSwizzle));
      wgmma_multiply<T::kN, kType>(sum, a + step, b + step);
    }
    wgmma_commit();
    pin(sum);
  }
  __device__ __forceinline__ void wait_products(int running) {
    if (running == 0) {
      wgmma_wait<0>();
    } else {
      wgmma_wait<1>();
    }
    pin(sum);
  }
  /// Once per warp: each waits for its own part of the products.
  __device__ __forceinline__ void release(int stage) {
    const unsigned lane = threadIdx.x % kWarpLanes;
    if constexpr (T::kCluster == 1) {
      if (lane == 0) mbarrier_arrive(stages.empty(stage));
    } else {
      if (lane < T::kCluster) mbarrier_arrive_at(stages.empty(stage), lane);
    }
  }
};

__device__ __forceinline__ void store_4(const DeviceEpilogue& to, std::int64_t index, float4 v) {
  if (to.out_dtype == DType::kF32) {
    *reinterpret_cast<float4*>(static_cast<float*>(to.y) + index) = v;
  } else if (to.out_dtype == DType::kBf16) {
    auto* at = reinterpret_cast<__nv_bfloat162*>(static_cast<__nv_bfloat16*>(to.y) + index);
    const __nv_bfloat162 both[2] = {__floats2bfloat162_rn(v.x, v.y),
                                    __floats2bfloat162_rn(v.z, v.w)};
    *reinterpret_cast<uint2*>(at) = *reinterpret_cast<const uint2*>(both);
  } else {
    auto* at = reinterpret_cast<__half2*>(static_cast<__half*>(to.y) + index);
    const __half2 both[2] = {__floats2half2_rn(v.x, v.y), __floats2half2_rn(v.z, v.w)};
    *reinterpret_cast<uint2*>(at) = *reinterpret_cast<const uint2*>(both);
  }
}

/// A warp's slice of sums to y, whole lines at a time; its first element is y's (row, column).
template <class T>
__device__ __forceinline__ void store_slice(unsigned char* slice, std::int64_t row,
                                            std::int64_t column, const GemmShape& p,
                                            const DeviceEpilogue& epilogue) {
  constexpr int kColumns = T::kSliceColumns;
  const int lane = static_cast<int>(threadIdx.x % kWarpLanes);
  DeviceEpilogue plain = epilogue;
  plain.activation = Activation::kNone;
  if (epilogue.activation != Activation::kNone) {
    // A pass of its own: the code of the activations stands here once per slice.
    plain.bias = nullptr;
#pragma unroll 1
    for (int e = lane; e < T::kSliceFloats; e += kWarpLanes) {
      const int c = e % kColumns;
      if (column + c >= p.N) continue;
      auto* at = reinterpret_cast<float*>(slice + slice_offset(e / kColumns, c, kColumns));
      const float bias = epilogue.bias == nullptr ? 0.0F : epilogue.bias[column + c];
      *at = activate_device(epilogue.activation, epilogue.bias == nullptr ? *at : *at + bias);
    }
    __syncwarp();
  }
#pragma unroll 4
  for (int e = 4 * lane; e < T::kSliceFloats; e += 4 * kWarpLanes) {
    const std::int64_t r = row + e / kColumns;
    const std::int64_t c = column + e % kColumns;
    if (r >= p.M || c >= p.N) continue;
    float4 v = *reinterpret_cast<const float4*>(slice +
                                                slice_offset(e / kColumns, e % kColumns, kColumns));
    if (p.N % 4 == 0) {
      if (plain.bias != nullptr) {
        v = {v.x + plain.bias[c], v.y + plain.bias[c + 1], v.z + plain.bias[c + 2],
             v.w + plain.bias[c + 3]};
      }
      store_4(plain, r * p.N + c, v);
      continue;
    }
    plain.store(r * p.N + c, c, v.x);
    if (c + 1 < p.N) plain.store(r * p.N + c + 1, c + 1, v.y);
    if (c + 2 < p.N) plain.store(r * p.N + c + 2, c + 2, v.z);
    if (c + 3 < p.N) plain.store(r * p.N + c + 3, c + 3, v.w);
  }
}

/// Two neighbouring sums of one row, as floats; those outside of y may be anything.
__device__ __forceinline__ float2 scaled_pair(float a, float b, std::int64_t, std::int64_t,
                                              const GemmShape&, const WgmmaScales&) {
  return {a, b};
}
__device__ __forceinline__ float2 scaled_pair(std::int32_t a, std::int32_t b, std::int64_t row,
                                              std::int64_t column, const GemmShape& p,
                                              const WgmmaScales& scales) {
  const float x = row < p.M ? scales.x[row] : 0;
  return {static_cast<float>(a) * x * (column < p.N ? scales.w[column] : 0),
          static_cast<float>(b) * x * (column + 1 < p.N ? scales.w[column + 1] : 0)};
}

/// This warp's 16 rows of the tile, slice by slice.
template <class T, typename Sum>
__device__ __forceinline__ void store_sums(const Sum (&sum)[T::kSums], unsigned char* slice,
                                           std::int64_t row, std::int64_t column,
                                           const GemmShape& p, const WgmmaScales& scales,
                                           const DeviceEpilogue& epilogue) {
  const int lane = static_cast<int>(threadIdx.x % kWarpLanes);
#pragma unroll
  for (int first = 0; first < T::kN; first += T::kSliceColumns) {
#pragma unroll
    for (int r = first / 2; r < (first + T::kSliceColumns) / 2; r += 2) {
      const Element e = wgmma_d32(lane, r);
      *reinterpret_cast<float2*>(slice + slice_offset(e.row, e.column - first, T::kSliceColumns)) =
          scaled_pair(sum[r], sum[r + 1], row + e.row, column + e.column, p, scales);
    }
    __syncwarp();
    store_slice<T>(slice, row, column + first, p, epilogue);
    __syncwarp();
  }
}

/// The tiles of one block, in the order in which its warpgroups go through them.
template <class T>
struct WgmmaTiles {
  std::int64_t rows = 0;  ///< of units, one unit being a tile of each block of a cluster
  std::int64_t columns = 0;
  std::uint32_t rank = 0;

  __device__ WgmmaTiles(const GemmShape& p, std::uint32_t rank_in_cluster)
      : rows(ceil_div(p.M, std::int64_t{T::kM} * T::kCluster)),
        columns(ceil_div(p.N, T::kN)),
        rank(rank_in_cluster) {}

  /// body(row, column) for the first element of every tile.
  template <typename Body>
  __device__ __forceinline__ void each(const Body& body) const {
    const std::int64_t every = gridDim.x / T::kCluster;
    for (std::int64_t unit = blockIdx.x / T::kCluster; unit < rows * columns; unit += every) {
      const MatrixPlace place = unit_place(unit, rows, columns);
      body((place.row * T::kCluster + rank) * T::kM, place.column * T::kN);
    }
  }
};

template <class T>
__device__ void init_stages(const WgmmaStages<T>& stages) {
  if (threadIdx.x == 0) {
    for (int s = 0; s < T::kStages; ++s) {
      mbarrier_init(stages.full(s), 1);
      mbarrier_init(stages.empty(s), T::kWarps * T::kCluster);
    }
    mbarrier_init_fence();
  }
  if constexpr (T::kCluster > 1) {
    cluster_barrier();
  } else {
    __syncthreads();
  }
}

/// What the whole block does.
template <class T, WgmmaType kType>
__device__ __forceinline__ void wgmma_block(unsigned char* raw, const CUtensorMap& x,
                                            const CUtensorMap& w, const GemmShape& p,
                                            const WgmmaScales& scales,
                                            const DeviceEpilogue& epilogue) {
  const std::uint32_t misaligned = shared_address(raw) % T::kAlignment;
  unsigned char* shared = raw + (misaligned == 0 ? 0 : T::kAlignment - misaligned);
  const WgmmaStages<T> stages{shared_address(shared)};
  init_stages(stages);
  const std::uint32_t rank = T::kCluster > 1 ? cluster_rank() : 0;
  const WgmmaTiles<T> tiles(p, rank);
  const std::int64_t steps = ceil_div(p.K, span_elements<T, kType>());
  const int group = static_cast<int>(threadIdx.x) / kWarpgroupThreads;
  PipelinePosition at;
  if (group == T::kGroups) {
    if constexpr (T::kGroups == 2) give_registers<40>();
    if (threadIdx.x % kWarpgroupThreads == 0) {
      tiles.each([&](std::int64_t row, std::int64_t column) {
        WgmmaLoader<T, kType> loader{
            stages, x, w, rank, static_cast<int>(row), static_cast<int>(column)};
        produce(loader, at, steps, T::kStages);
      });
    }
  } else {
    if constexpr (T::kGroups == 2) take_registers<232>();
    const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
    unsigned char* slice = shared + T::kSlicesAt + warp * T::kSliceFloats * 4;
    tiles.each([&](std::int64_t row, std::int64_t column) {
      WgmmaSum<kType> sum[T::kSums];
#pragma unroll
      for (auto& s : sum) s = 0;
      WgmmaMultiplier<T, kType> multiplier{stages, group, sum};
      consume(multiplier, at, steps, T::kStages);
      store_sums<T>(sum, slice, row + 16 * warp, column, p, scales, epilogue);
    });
  }
  // Until here a peer may still write into this block's stages or arrive at its barriers.
  if constexpr (T::kCluster > 1) cluster_barrier();
}

}  // namespace pareto::cuda
