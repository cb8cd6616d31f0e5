// 2:4 W on sparse tensor cores: half of the products, 9/16 of the bytes.
//
// Idea: W is the sparse operand A of mma.sp m16n8k32, in the order of its fragments, so that y
// comes out transposed. Few tokens: W is streamed into registers (two_to_four_rows.cuh).
// Bottleneck: memory. Many: tiles of 128 rows of W and 128 tokens through shared memory
// (two_to_four_tile.cuh). Bottleneck: shared memory and the rate of warp-level products, which is
// below that of wgmma.
// Layout: W repacked in units of 16 × 64 (two_to_four_units.h).
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
#include "kernels/sparse/host_copy.cuh"
#include "kernels/sparse/sparse_lane.cuh"
#include "kernels/sparse/two_to_four_pack.h"
#include "kernels/sparse/two_to_four_tile.cuh"
#include "reference/sparse.h"

namespace pareto {
namespace {

using cuda::TwoToFourProblem;
using cuda::TwoToFourUnit;
using cuda::WindowOrder;

// Above, x is read too often to stream W past it.
constexpr std::int64_t kFewTokens = 32;

// Ways to share a tile of many tokens among warps, 64 or 32 tokens for each. Both read the same
// packing.
constexpr std::size_t kWays = 2;
using WideTile = cuda::TwoToFourTile<64>;
using NarrowTile = cuda::TwoToFourTile<32>;

template <int kBlocks>
using Rows = cuda::TwoToFourRows<kBlocks, kBlocks <= 2 ? 3 : 2>;

// Few tokens: one block per 32 rows of W.
template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads)
    two_to_four_few(TwoToFourProblem p, DeviceEpilogue epilogue) {
  extern __shared__ __align__(128) unsigned char shared[];
  cuda::SparseLane<T> lane(shared);
  const std::int64_t N = p.N;
  cuda::two_to_four_rows<Tile>(lane, p, std::int64_t{blockIdx.x} * Tile::kRowTiles, 0,
                               [&](std::int64_t token, std::int64_t row, float sum) {
                                 epilogue.store(token * N + row, row, sum);
                               });
}

// Many tokens: one block per tile of y.
template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    two_to_four_many(TwoToFourProblem p, DeviceEpilogue epilogue) {
  extern __shared__ __align__(128) unsigned char shared[];
  cuda::SparseLane<T> lane(shared);
  const std::int64_t N = p.N;
  cuda::two_to_four_tile<Tile>(lane, p, std::int64_t{blockIdx.x} * Tile::kRows,
                               std::int64_t{blockIdx.y} * Tile::kTokens,
                               [&](std::int64_t token, std::int64_t row, float sum) {
                                 epilogue.store(token * N + row, row, sum);
                               });
}

std::vector<std::uint32_t> packed_words(const SparseProblem& p, std::span<const Tensor> in,
                                        ThreadPool& pool) {
  const auto values = on_host<std::uint16_t>(in[kSparseValues]);
  const auto meta = on_host<std::uint8_t>(in[kSparseMeta]);
  const WindowOrder order = p.M <= kFewTokens ? WindowOrder::kInPairs : WindowOrder::kInOrder;
  return cuda::pack_two_to_four(order, {p.N, p.K, values.data(), meta.data()}, pool);
}

class Cuda2to4 : public Prepared {
 public:
  Cuda2to4(const Problem& problem, const SparseProblem& p, const std::vector<std::uint32_t>& words)
      : p_(p), words_(on_device(words)) {
    if (p_.M <= kFewTokens) return;
    for (std::size_t way = 0; way < kWays; ++way) {
      with_many(way, [&]<typename T, typename Tile>() {
        allow_shared(two_to_four_many<T, Tile>, Tile::kSharedBytes);
      });
    }
    if (p_.N > 0) way_ = quickest_way(problem);
  }

  void run(const Call& call) override {
    const DeviceEpilogue epilogue{call.in[kSparseBias].as<const float>(), p_.activation,
                                  p_.out_dtype, call.out[kSparseY].data};
    const std::uint16_t* x = call.in[kSparseX].as<const std::uint16_t>();
    if (p_.M > kFewTokens) {
      many(way_, x, epilogue);
    } else if (p_.dtype == DType::kBf16) {
      few<__nv_bfloat16>(x, epilogue);
    } else {
      few<__half>(x, epilogue);
    }
  }

  std::size_t packed_bytes() const override { return words_.bytes(); }

 private:
  // Without bias: it does not tell the ways apart.
  std::size_t quickest_way(const Problem& problem) const {
    const DeviceBuffer<std::uint16_t> x(p_.M * p_.K + 1);
    const DeviceBuffer<float> y(p_.M * p_.N);  // wide enough for every type
    device().fill(x.data(), 0, x.bytes());
    std::vector<std::function<void()>> ways;
    for (std::size_t way = 0; way < kWays; ++way) {
      ways.emplace_back([this, way, &x, &y] {
        many(way, x.data(), {nullptr, p_.activation, p_.out_dtype, y.data()});
      });
    }
    return quickest("sparse/cuda_2to4 " + problem.text(), ways);
  }

  template <typename T>
  void few(const std::uint16_t* x, const DeviceEpilogue& epilogue) const {
    if (p_.M <= 8) {
      start_few<T, Rows<1>>(x, epilogue);
    } else if (p_.M <= 16) {
      start_few<T, Rows<2>>(x, epilogue);
    } else {
      start_few<T, Rows<4>>(x, epilogue);
    }
  }
  template <typename T, typename Tile>
  void start_few(const std::uint16_t* x, const DeviceEpilogue& epilogue) const {
    if (p_.M == 0) return;
    const dim3 grid(static_cast<unsigned>(ceil_div(p_.N, Tile::kRows)));
    launch_grid(two_to_four_few<T, Tile>, grid, dim3(Tile::kThreads), cuda::sum_bytes<Tile>(),
                problem(x), epilogue);
  }

  void many(std::size_t way, const std::uint16_t* x, const DeviceEpilogue& epilogue) const {
    with_many(way, [&]<typename T, typename Tile>() {
      const dim3 grid(static_cast<unsigned>(ceil_div(p_.N, Tile::kRows)),
                      static_cast<unsigned>(ceil_div(p_.M, Tile::kTokens)));
      launch_grid(two_to_four_many<T, Tile>, grid, dim3(Tile::kThreads), Tile::kSharedBytes,
                  problem(x), epilogue);
    });
  }
  template <typename Body>
  void with_many(std::size_t way, const Body& body) const {
    const auto with_type = [&]<typename Tile>() {
      if (p_.dtype == DType::kBf16) {
        body.template operator()<__nv_bfloat16, Tile>();
      } else {
        body.template operator()<__half, Tile>();
      }
    };
    if (way == 0) {
      with_type.template operator()<WideTile>();
    } else {
      with_type.template operator()<NarrowTile>();
    }
  }

  TwoToFourProblem problem(const std::uint16_t* x) const {
    return {p_.M, p_.N, p_.K, ceil_div(p_.K, TwoToFourUnit::kColumns), x, words_.data()};
  }

  SparseProblem p_;
  DeviceBuffer<std::uint32_t> words_;
  std::size_t way_ = 0;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const SparseProblem p = SparseProblem::from(problem);
  return std::make_unique<Cuda2to4>(problem, p, packed_words(p, in, pool));
}

// As tensor cores sum (see qgemm/tensor_core_arithmetic.h): 16 products in a step of 32 columns.
// With few tokens the warps' shares of the columns stand side by side.
Arithmetic arithmetic(const Problem& problem) {
  const SparseProblem p = SparseProblem::from(problem);
  const std::int64_t units = ceil_div(p.K, TwoToFourUnit::kColumns);
  const std::int64_t share =
      std::max(ceil_div(units, Rows<1>::kWarps), std::int64_t{1}) * TwoToFourUnit::kColumns;
  Arithmetic a;
  a.u_acc = 0x1p-23;
  a.acc_truncates = true;
  a.acc_block = 16;
  a.acc_lanes = p.M <= kFewTokens ? std::max(p.K / share, std::int64_t{1}) : 1;
  a.epilogue_roundings = p.has_bias ? 1 : 0;
  a.multiplies_pruned = true;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "cuda_2to4",
    .summary = "CUDA, 2:4 tensor cores by mma.sp, W in the order of fragments",
    .needs_cuda = 80,
    .limits = {{.key = "format", .values = {"2to4"}},
               {.key = "dtype", .values = {"bf16", "fp16"}},
               {.key = "M", .max = 65535 * WideTile::kTokens}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "cuda_tensor_bf16",
}};
const LaunchesKernel launch_of_many("sparse/cuda_2to4", "two_to_four_many",
                                    {.threads = WideTile::kThreads,
                                     .dynamic_shared_bytes = WideTile::kSharedBytes});
const LaunchesKernel launch_of_few("sparse/cuda_2to4", "two_to_four_few",
                                   {.threads = Rows<1>::kThreads,
                                    .dynamic_shared_bytes = cuda::sum_bytes<Rows<1>>()});

}  // namespace
}  // namespace pareto
