// W as bits and nonzeros on tensor cores: read sparse, multiplied dense.
//
// Idea: with few tokens a layer costs the bytes of W. They are streamed once, packed, and expanded
// in registers into fragments of warp-level products (bitmap_tile.cuh; after SpInfer and
// Flash-LLM). Bottleneck: memory at about half of the weights; with fewer nonzeros, or with many
// tokens, the expansion.
// Layout: W repacked in units of 16 × 64 (bitmap_units.h).
// ptxas: hot
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_tuning.h"
#include "kernels/cuda_values.cuh"
#include "kernels/sparse/bitmap_pack.h"
#include "kernels/sparse/bitmap_tile.cuh"
#include "kernels/sparse/host_copy.cuh"
#include "kernels/sparse/sparse_lane.cuh"
#include "reference/sparse.h"

namespace pareto {
namespace {

using cuda::BitmapProblem;
using cuda::BitmapTile;
using cuda::BitmapUnit;

constexpr int kMostBlocks = 8;

// Ways to keep the stream of W going: warps of a block, and stages of each. All read the same
// packing; which is quickest depends on the layer and on the number of tokens.
constexpr std::size_t kWays = 3;
constexpr int kFewestWarps = 8;

// Calls body<warps, stages>() for way `way`.
template <typename Body>
void with_way(std::size_t way, const Body& body) {
  switch (way) {
    case 0:
      return body.template operator()<kFewestWarps, 4>();
    case 1:
      return body.template operator()<16, 3>();
    default:
      return body.template operator()<kFewestWarps, 6>();
  }
}

// One block per tile of y.
template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks > 4 || Tile::kWarps > 8 ? 1 : 2)
    bitmap_products(BitmapProblem p, DeviceEpilogue epilogue) {
  extern __shared__ __align__(128) unsigned char stages[];
  cuda::SparseLane<T> lane(stages);
  const std::int64_t N = p.N;
  cuda::bitmap_tile<Tile>(lane, p, std::int64_t{blockIdx.x} * Tile::kRowTiles,
                          std::int64_t{blockIdx.y} * Tile::kTokens,
                          [&](std::int64_t token, std::int64_t row, float sum) {
                            epilogue.store(token * N + row, row, sum);
                          });
}

// Calls body<kBlocks>() with enough blocks of 8 tokens, or with the most there are.
template <int kWarps, typename Body>
void with_blocks(std::int64_t tokens, const Body& body) {
  if (tokens <= 8) {
    body.template operator()<1>();
  } else if (tokens <= 16) {
    body.template operator()<2>();
  } else if (tokens <= 32 || kWarps > 8) {
    body.template operator()<4>();
  } else {
    if constexpr (kWarps <= 8) body.template operator()<kMostBlocks>();
  }
}

cuda::BitmapPacked packed_units(const SparseProblem& p, std::span<const Tensor> in,
                                ThreadPool& pool) {
  const auto masks = on_host<std::uint64_t>(in[kSparseMeta]);
  const auto offset = on_host<std::int64_t>(in[kSparseOffset]);
  const auto values = on_host<std::uint16_t>(in[kSparseValues], cuda::BitmapWeights::kReadBehind);
  // Whole pairs of row tiles: a block has two.
  return cuda::pack_bitmap({p.N, p.K, masks.data(), offset.data(), values.data()},
                           ceil_div(p.N, 2 * BitmapUnit::kRows) * 2, pool);
}

class CudaBitmap : public Prepared {
 public:
  CudaBitmap(const Problem& problem, const SparseProblem& p, const cuda::BitmapPacked& packed)
      : p_(p),
        words_(on_device(packed.words)),
        offset_(on_device(packed.offset)),
        stage_bytes_(packed.longest_bytes) {
    for (std::size_t way = 0; way < kWays; ++way) {
      with_kernel(way, [&]<typename T, typename Tile>() {
        // For every layer: the limit is the kernel's, and several layers are prepared at once.
        allow_shared(bitmap_products<T, Tile>, Tile::shared_bytes(BitmapUnit::kLongestBytes));
      });
    }
    if (p_.M > 0 && p_.N > 0) way_ = quickest_way(problem);
  }

  void run(const Call& call) override {
    start(way_, call.in[kSparseX].as<const std::uint16_t>(),
          {call.in[kSparseBias].as<const float>(), p_.activation, p_.out_dtype,
           call.out[kSparseY].data});
  }

  std::size_t packed_bytes() const override { return words_.bytes() + offset_.bytes(); }

 private:
  // Without bias: it does not tell the ways apart.
  std::size_t quickest_way(const Problem& problem) const {
    const DeviceBuffer<std::uint16_t> x(p_.M * p_.K + 1);
    const DeviceBuffer<float> y(p_.M * p_.N);  // wide enough for every type
    device().fill(x.data(), 0, x.bytes());
    std::vector<std::function<void()>> ways;
    for (std::size_t way = 0; way < kWays; ++way) {
      ways.emplace_back([this, way, &x, &y] {
        start(way, x.data(), {nullptr, p_.activation, p_.out_dtype, y.data()});
      });
    }
    return quickest("sparse/cuda_bitmap " + problem.text(), ways);
  }

  void start(std::size_t way, const std::uint16_t* x, const DeviceEpilogue& epilogue) const {
    const BitmapProblem problem{
        p_.M, p_.N,          p_.K,           ceil_div(p_.K, BitmapUnit::kColumns),
        x,    words_.data(), offset_.data(), stage_bytes_};
    with_kernel(way, [&]<typename T, typename Tile>() {
      const dim3 grid(static_cast<unsigned>(ceil_div(p_.N, Tile::kRows)),
                      static_cast<unsigned>(ceil_div(p_.M, Tile::kTokens)));
      launch_grid(bitmap_products<T, Tile>, grid, dim3(Tile::kThreads),
                  Tile::shared_bytes(stage_bytes_), problem, epilogue);
    });
  }

  template <typename Body>
  void with_kernel(std::size_t way, const Body& body) const {
    with_way(way, [&]<int kWarps, int kStages>() {
      with_blocks<kWarps>(p_.M, [&]<int kBlocks>() {
        using Tile = BitmapTile<kBlocks, kWarps, kStages>;
        if (p_.dtype == DType::kBf16) {
          body.template operator()<__nv_bfloat16, Tile>();
        } else {
          body.template operator()<__half, Tile>();
        }
      });
    });
  }

  SparseProblem p_;
  DeviceBuffer<std::uint32_t> words_;
  DeviceBuffer<std::uint32_t> offset_;
  int stage_bytes_;
  std::size_t way_ = 0;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const SparseProblem p = SparseProblem::from(problem);
  return std::make_unique<CudaBitmap>(problem, p, packed_units(p, in, pool));
}

// As tensor cores sum (see qgemm/tensor_core_arithmetic.h); the warps' shares of the columns side
// by side: of the way with the longest shares.
Arithmetic arithmetic(const Problem& problem) {
  const SparseProblem p = SparseProblem::from(problem);
  const std::int64_t units = ceil_div(p.K, BitmapUnit::kColumns);
  const std::int64_t share =
      std::max(ceil_div(units, kFewestWarps), std::int64_t{1}) * BitmapUnit::kColumns;
  Arithmetic a;
  a.u_acc = 0x1p-23;
  a.acc_truncates = true;
  a.acc_block = 16;
  a.acc_lanes = std::max(p.K / share, std::int64_t{1});
  a.epilogue_roundings = p.has_bias ? 1 : 0;
  a.multiplies_pruned = true;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "cuda_bitmap",
    .summary = "CUDA, bits and nonzeros expanded into fragments of mma.sync",
    .needs_cuda = 90,
    .limits = {{.key = "format", .values = {"bitmap"}},
               {.key = "dtype", .values = {"bf16", "fp16"}},
               {.key = "M", .max = 65535 * BitmapTile<4>::kTokens}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "cuda_tensor_bf16",
}};
const LaunchesKernel launch_of_products(
    "sparse/cuda_bitmap", "bitmap_products",
    {.threads = BitmapTile<1>::kThreads,
     .dynamic_shared_bytes = BitmapTile<1>::shared_bytes(BitmapUnit::kLongestBytes)});

}  // namespace
}  // namespace pareto
