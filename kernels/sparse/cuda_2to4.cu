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
#include <memory>
#include <vector>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/sparse/host_copy.cuh"
#include "kernels/sparse/sparse_lane.cuh"
#include "kernels/sparse/two_to_four_tile.cuh"
#include "reference/sparse.h"

namespace pareto {
namespace {

using cuda::TwoToFourProblem;
using cuda::TwoToFourUnit;
using cuda::WindowOrder;

// Above, x is read too often to stream W past it.
constexpr std::int64_t kFewTokens = 32;

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

std::vector<std::uint32_t> packed_words(const SparseProblem& p, std::span<const Tensor> in) {
  const auto values = on_host<std::uint16_t>(in[kSparseValues]);
  const auto meta = on_host<std::uint8_t>(in[kSparseMeta]);
  const std::int64_t groups = p.groups_of_4();
  const WindowOrder order = p.M <= kFewTokens ? WindowOrder::kInPairs : WindowOrder::kInOrder;
  return cuda::pack_two_to_four(
      order, p.N, p.K, [&](std::int64_t n, std::int64_t group) -> cuda::TwoOfFour {
        if (n >= p.N || group >= groups) return {};
        const TwoToFour at =
            two_to_four(meta[static_cast<std::size_t>(n * p.meta_row_bytes() + group / 2)], group);
        const auto first = static_cast<std::size_t>(2 * (n * groups + group));
        return {values[first] | static_cast<std::uint32_t>(values[first + 1]) << 16U,
                cuda::metadata_nibble(at.first, at.second)};
      });
}

template <int kWarpTokens>
class Cuda2to4 : public Prepared {
  using Tile = cuda::TwoToFourTile<kWarpTokens>;

 public:
  Cuda2to4(const SparseProblem& problem, const std::vector<std::uint32_t>& words)
      : p_(problem), words_(on_device(words)) {
    if (p_.dtype == DType::kBf16) {
      allow_shared(two_to_four_many<__nv_bfloat16, Tile>, Tile::kSharedBytes);
    } else {
      allow_shared(two_to_four_many<__half, Tile>, Tile::kSharedBytes);
    }
  }

  void run(const Call& call) override {
    if (p_.dtype == DType::kBf16) {
      start<__nv_bfloat16>(call);
    } else {
      start<__half>(call);
    }
  }

  std::size_t packed_bytes() const override { return words_.bytes(); }

 private:
  template <typename T>
  void start(const Call& call) const {
    if (p_.M <= 8) {
      few<T, Rows<1>>(call);
    } else if (p_.M <= 16) {
      few<T, Rows<2>>(call);
    } else if (p_.M <= kFewTokens) {
      few<T, Rows<4>>(call);
    } else {
      const dim3 grid(static_cast<unsigned>(ceil_div(p_.N, Tile::kRows)),
                      static_cast<unsigned>(ceil_div(p_.M, Tile::kTokens)));
      launch_grid(two_to_four_many<T, Tile>, grid, dim3(Tile::kThreads), Tile::kSharedBytes,
                  problem(call), epilogue(call));
    }
  }

  template <typename T, typename FewTile>
  void few(const Call& call) const {
    if (p_.M == 0) return;
    const dim3 grid(static_cast<unsigned>(ceil_div(p_.N, FewTile::kRows)));
    launch_grid(two_to_four_few<T, FewTile>, grid, dim3(FewTile::kThreads),
                cuda::sum_bytes<FewTile>(), problem(call), epilogue(call));
  }

  TwoToFourProblem problem(const Call& call) const {
    return {p_.M,
            p_.N,
            p_.K,
            ceil_div(p_.K, TwoToFourUnit::kColumns),
            call.in[kSparseX].as<const std::uint16_t>(),
            words_.data()};
  }
  DeviceEpilogue epilogue(const Call& call) const {
    return {call.in[kSparseBias].as<const float>(), p_.activation, p_.out_dtype,
            call.out[kSparseY].data};
  }

  SparseProblem p_;
  DeviceBuffer<std::uint32_t> words_;
};

template <int kWarpTokens>
std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  const SparseProblem p = SparseProblem::from(problem);
  return std::make_unique<Cuda2to4<kWarpTokens>>(p, packed_words(p, in));
}

// As tensor cores sum (see qgemm/cuda_mma): 16 products in a step of 32 columns. With few tokens
// the warps' shares of the columns stand side by side.
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

template <int kWarpTokens>
Variant candidate(const char* name) {
  return {.op = "sparse",
          .name = name,
          .summary = "CUDA, 2:4 tensor cores by mma.sp, W in the order of fragments",
          .needs_cuda = 80,
          .limits = {{.key = "format", .values = {"2to4"}},
                     {.key = "dtype", .values = {"bf16", "fp16"}},
                     {.key = "M", .max = 65535 * cuda::TwoToFourTile<64>::kTokens}},
          .arithmetic = arithmetic,
          .prepare = prepare<kWarpTokens>,
          .unit = "cuda_tensor_bf16"};
}

const Registration registration_a{candidate<64>("cuda_2to4_a")};
const Registration registration_b{candidate<32>("cuda_2to4_b")};

}  // namespace
}  // namespace pareto
