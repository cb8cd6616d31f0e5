// bf16 and fp16 on Hopper's tensor cores by warpgroup: the third step of the ladder.
//
// Idea: TMA brings 64-wide slices of x and w into a ring of stages, swizzled as wgmma reads them;
// one warpgroup does nothing but start these loads, two multiply 64 × 256 of y each from shared
// memory. Two neighbouring blocks share the loads of w by multicast: without it a 128 × 256 tile
// asks more of L2 than it gives. Blocks stay and take tile after tile, so that the loads of the
// next tile run while the last one is stored. After fast.cu and DeepGEMM.
// Bottleneck: the tensor cores; below about M = 128 the reading of w, for which smaller tiles
// spread it over more multiprocessors (wgmma_layout.h estimates which).
// Layout: device pointers, operands as given; no workspace. K a multiple of 8: TMA wants rows at
// multiples of 16 bytes.
// ptxas: hot
#include <memory>
#include <vector>

#include "harness/variant.h"
#include "kernels/qgemm/tensor_map.cuh"
#include "kernels/qgemm/wgmma_gemm.cuh"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using cuda::GemmShape;
using cuda::WgmmaTile;

using LargeTile = WgmmaTile<2, 256, 4, 2>;

template <class T, bool kBf16>
__global__ void __launch_bounds__(T::kThreads, 1)
    wgmma_products(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                   GemmShape p, DeviceEpilogue epilogue) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char stages[];
  cuda::wgmma_block<T, kBf16>(stages, x, w, p, epilogue);
#endif
}

// One size of tile, ready to be launched.
struct Choice {
  cuda::TileSize size;
  void (*allow)();
  void (*start)(const TensorMaps& maps, const QgemmProblem& p, const Call& call, int blocks);
};

template <class T, bool kBf16>
void allow_tile() {
  allow_shared(wgmma_products<T, kBf16>, T::kSharedBytes);
}

template <class T, bool kBf16>
void start_tile(const TensorMaps& maps, const QgemmProblem& p, const Call& call, int blocks) {
  const CUtensorMap x = maps.of(call.in[kQgemmX].data, p.x_dtype, p.M, p.K, T::kM);
  const CUtensorMap w = maps.of(call.in[kQgemmW].data, p.x_dtype, p.N, p.K, T::kN / T::kCluster);
  const DeviceEpilogue epilogue{call.in[kQgemmBias].as<const float>(), p.activation, p.out_dtype,
                                call.out[kQgemmY].data};
  launch_clusters(wgmma_products<T, kBf16>, dim3(static_cast<unsigned>(blocks)), dim3(T::kThreads),
                  T::kSharedBytes, T::kCluster, x, w, GemmShape{p.M, p.N, p.K}, epilogue);
}

template <class T>
Choice choice_of(bool bf16) {
  const cuda::TileSize size{T::kM, T::kN, T::kCluster};
  if (bf16) return {size, allow_tile<T, true>, start_tile<T, true>};
  return {size, allow_tile<T, false>, start_tile<T, false>};
}

class CudaWgmma : public Prepared {
 public:
  CudaWgmma(const QgemmProblem& p, const std::vector<Choice>& choices)
      : p_(p), chosen_(choices.front()) {
    const std::int64_t multiprocessors = device().info().multiprocessors;
    const auto cost = [&](const Choice& c) {
      return cuda::tile_cost(c.size, p.M, p.N, multiprocessors);
    };
    for (const Choice& c : choices) {
      if (cost(c) < cost(chosen_)) chosen_ = c;
    }
    const std::int64_t cluster = chosen_.size.cluster;
    const std::int64_t units =
        ceil_div(p.M, chosen_.size.m * cluster) * ceil_div(p.N, chosen_.size.n);
    blocks_ = static_cast<int>(std::min(units, multiprocessors / cluster) * cluster);
    chosen_.allow();
  }

  void run(const Call& call) override {
    if (blocks_ > 0) chosen_.start(maps_, p_, call, blocks_);
  }

 private:
  QgemmProblem p_;
  TensorMaps maps_;
  Choice chosen_;
  int blocks_ = 0;
};

// The larger tile first: of equal costs the first is taken.
template <class Largest>
std::unique_ptr<Prepared> prepare_with(const Problem& problem) {
  const auto p = QgemmProblem::from(problem);
  const bool bf16 = p.x_dtype == DType::kBf16;
  return std::make_unique<CudaWgmma>(
      p, std::vector<Choice>{choice_of<Largest>(bf16), choice_of<WgmmaTile<2, 128, 6, 1>>(bf16),
                             choice_of<WgmmaTile<1, 128, 8, 1>>(bf16),
                             choice_of<WgmmaTile<1, 64, 10, 1>>(bf16),
                             choice_of<WgmmaTile<1, 32, 12, 1>>(bf16)});
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return prepare_with<LargeTile>(problem);
}

std::unique_ptr<Prepared> prepare_a(const Problem& problem, std::span<const Tensor> /*in*/,
                                    ThreadPool& /*pool*/) {
  return prepare_with<WgmmaTile<2, 256, 4, 1>>(problem);
}

// Tensor cores sum the 16 products of one step and the accumulator at once, and cut off.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.u_acc = 0x1p-23;
  a.acc_truncates = true;
  a.acc_block = 16;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

Variant variant(const char* name, const char* summary, decltype(Variant::prepare) prepare_it) {
  return {
      .op = "qgemm",
      .name = name,
      .summary = summary,
      .needs_cuda = 90,
      .limits = {{.key = "scheme", .values = {"bf16", "fp16"}},
                 {.key = "operands", .values = {"float"}},
                 {.key = "M", .max = 1 << 30},
                 {.key = "N", .max = 1 << 30},
                 {.key = "K", .max = 1 << 30, .multiple_of = 8}},
      .arithmetic = arithmetic,
      .prepare = prepare_it,
      .keeps_operands = true,
      .unit = "cuda_tensor_bf16",
  };
}

const Registration registration{variant(
    "cuda_wgmma", "CUDA, bf16 and fp16 by wgmma, TMA ring, clusters of 2 share w", prepare)};
const Registration registration_a{
    variant("cuda_wgmma_a", "CUDA, bf16 and fp16 by wgmma, TMA ring, no clusters", prepare_a)};
const LaunchesKernel launch_of_products("qgemm/cuda_wgmma", "wgmma_products",
                                        {.threads = LargeTile::kThreads,
                                         .dynamic_shared_bytes = LargeTile::kSharedBytes});

}  // namespace
}  // namespace pareto
