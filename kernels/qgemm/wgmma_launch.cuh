// Host side of the kernels on wgmma_gemm.cuh: which tile suits a problem, and its launch.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/qgemm/wgmma_gemm.cuh"
#include "kernels/tensor_map.cuh"

namespace pareto {

template <class T, cuda::WgmmaType kType>
__global__ void __launch_bounds__(T::kThreads, 1)
    wgmma_products(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                   cuda::GemmShape p, cuda::WgmmaScales scales, DeviceEpilogue epilogue) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char stages[];
  cuda::wgmma_block<T, kType>(stages, x, w, p, scales, epilogue);
#endif
}

/// Device pointers: x [M,K] and w [N,K] of `dtype`.
struct WgmmaOperands {
  cuda::GemmShape shape;
  DType dtype = DType::kBf16;
  const void* x = nullptr;
  const void* w = nullptr;
  cuda::WgmmaScales scales;
};

/// One size of tile, ready to be launched.
struct WgmmaChoice {
  cuda::TileSize size;
  void (*allow)();
  void (*start)(const TensorMaps& maps, const WgmmaOperands& o, const DeviceEpilogue& epilogue,
                int blocks);
};

template <class T, cuda::WgmmaType kType>
void allow_wgmma() {
  allow_shared(wgmma_products<T, kType>, T::kSharedBytes);
}

template <class T, cuda::WgmmaType kType>
void start_wgmma(const TensorMaps& maps, const WgmmaOperands& o, const DeviceEpilogue& epilogue,
                 int blocks) {
  const cuda::GemmShape& p = o.shape;
  const CUtensorMap x = maps.of(o.x, o.dtype, p.M, p.K, T::kM);
  const CUtensorMap w = maps.of(o.w, o.dtype, p.N, p.K, T::kN / T::kCluster);
  launch_clusters(wgmma_products<T, kType>, dim3(static_cast<unsigned>(blocks)), dim3(T::kThreads),
                  T::kSharedBytes, T::kCluster, x, w, p, o.scales, epilogue);
}

template <class T, cuda::WgmmaType kType>
WgmmaChoice wgmma_choice() {
  return {{T::kM, T::kN, T::kCluster}, allow_wgmma<T, kType>, start_wgmma<T, kType>};
}

/// The sizes of tile to choose from, the largest first: of equal costs the first is taken.
template <class Largest, cuda::WgmmaType kType>
std::vector<WgmmaChoice> wgmma_choices() {
  using cuda::WgmmaTile;
  return {wgmma_choice<Largest, kType>(), wgmma_choice<WgmmaTile<2, 128, 6, 1>, kType>(),
          wgmma_choice<WgmmaTile<1, 128, 8, 1>, kType>(),
          wgmma_choice<WgmmaTile<1, 64, 10, 1>, kType>(),
          wgmma_choice<WgmmaTile<1, 32, 12, 1>, kType>()};
}

/// y[M,N] = f(x · wᵀ + bias) for one shape.
class WgmmaGemm {
 public:
  WgmmaGemm(std::int64_t M, std::int64_t N, const std::vector<WgmmaChoice>& choices)
      : chosen_(choices.front()) {
    const std::int64_t multiprocessors = device().info().multiprocessors;
    const auto cost = [&](const WgmmaChoice& c) {
      return cuda::tile_cost(c.size, M, N, multiprocessors);
    };
    if (M == 0 || N == 0) return;
    for (const WgmmaChoice& c : choices) {
      if (cost(c) < cost(chosen_)) chosen_ = c;
    }
    const std::int64_t cluster = chosen_.size.cluster;
    const std::int64_t units = ceil_div(M, chosen_.size.m * cluster) * ceil_div(N, chosen_.size.n);
    blocks_ = static_cast<int>(std::min(units, multiprocessors / cluster) * cluster);
    chosen_.allow();
  }

  void start(const WgmmaOperands& operands, const DeviceEpilogue& epilogue) const {
    if (blocks_ > 0) chosen_.start(maps_, operands, epilogue, blocks_);
  }

 private:
  TensorMaps maps_;
  WgmmaChoice chosen_;
  int blocks_ = 0;
};

}  // namespace pareto
