// Host side of the kernels on wgmma_gemm.cuh: which tile suits a problem, and its launch.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "harness/device_buffer.h"
#include "kernels/cuda_tuning.h"
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

/// The sizes of tile to choose from.
template <cuda::WgmmaType kType>
std::vector<WgmmaChoice> wgmma_choices() {
  using cuda::WgmmaTile;
  return {wgmma_choice<WgmmaTile<2, 256, 4, 2>, kType>(),
          wgmma_choice<WgmmaTile<2, 256, 4, 1>, kType>(),
          wgmma_choice<WgmmaTile<2, 128, 6, 2>, kType>(),
          wgmma_choice<WgmmaTile<2, 128, 6, 1>, kType>(),
          wgmma_choice<WgmmaTile<1, 128, 8, 1>, kType>(),
          wgmma_choice<WgmmaTile<1, 64, 10, 1>, kType>(),
          wgmma_choice<WgmmaTile<1, 32, 12, 1>, kType>()};
}

/// Those worth trying for a shape: at most five, none that is estimated at twice the best.
inline std::vector<WgmmaChoice> promising(std::vector<WgmmaChoice> choices, std::int64_t M,
                                          std::int64_t N) {
  constexpr std::size_t kMost = 5;
  const auto cost = [&](const WgmmaChoice& c) {
    return cuda::tile_cost(c.size, M, N, device().info().multiprocessors);
  };
  std::ranges::stable_sort(choices, {}, cost);
  const double best = cost(choices.front());
  std::erase_if(choices, [&](const WgmmaChoice& c) { return cost(c) > 2 * best; });
  if (choices.size() > kMost) choices.erase(choices.begin() + kMost, choices.end());
  return choices;
}

/// y[M,N] = f(x · wᵀ + bias) for one shape.
class WgmmaGemm {
 public:
  /// Tries tiles on `w` of the operands, [N,K]; their x may be null. `key` names what else the
  /// speed depends on.
  WgmmaGemm(const std::string& key, WgmmaOperands operands, DeviceEpilogue epilogue,
            const std::vector<WgmmaChoice>& choices) {
    const cuda::GemmShape& p = operands.shape;
    if (p.M == 0 || p.N == 0) return;
    const std::vector<WgmmaChoice> tried = promising(choices, p.M, p.N);
    constexpr std::uint64_t kSomeValues = 0x3c3c3c3c3c3c3c3c;
    const DeviceBuffer<std::byte> x(p.M * p.K * static_cast<std::int64_t>(size_of(operands.dtype)));
    const DeviceBuffer<float> y(p.M * p.N);
    if (x.size() > 0) {
      device().fill(x.data(), kSomeValues, x.bytes());
      operands.x = x.data();
    }
    epilogue.y = y.data();
    std::vector<std::function<void()>> candidates;
    for (const WgmmaChoice& c : tried) {
      c.allow();
      candidates.emplace_back([&, c] { c.start(maps_, operands, epilogue, blocks_of(c, p)); });
    }
    chosen_ = tried[quickest(
        key + " " + std::to_string(p.M) + "x" + std::to_string(p.N) + "x" + std::to_string(p.K),
        candidates)];
    blocks_ = blocks_of(chosen_, p);
  }

  void start(const WgmmaOperands& operands, const DeviceEpilogue& epilogue) const {
    if (blocks_ > 0) chosen_.start(maps_, operands, epilogue, blocks_);
  }

 private:
  static int blocks_of(const WgmmaChoice& c, const cuda::GemmShape& p) {
    const std::int64_t cluster = c.size.cluster;
    const std::int64_t units = ceil_div(p.M, c.size.m * cluster) * ceil_div(p.N, c.size.n);
    return static_cast<int>(std::min(units, device().info().multiprocessors / cluster) * cluster);
  }

  TensorMaps maps_;
  WgmmaChoice chosen_{};
  int blocks_ = 0;
};

}  // namespace pareto
