// Fused attention by warp-level products: the second step of the ladder.
//
// Idea: 128 rows of q per block, logits and o in registers, K and V through shared memory
// (flash_block.cuh). Bottleneck: mma.sync reaches about two thirds of Hopper's tensor cores, and
// nothing overlaps a warp's exponentials but the products of the other warps.
// Layout: device pointers, operands as given; no workspace.
// Source of the idea: FlashAttention-2.
// ptxas: hot
#include <memory>
#include <numbers>

#include "harness/variant.h"
#include "kernels/attention/cuda_dense.h"
#include "kernels/attention/flash_block.cuh"
#include "kernels/cuda_lane.cuh"
#include "kernels/cuda_launch.cuh"
#include "reference/attention.h"

namespace pareto {
namespace {

using cuda::FlashProblem;
using cuda::FlashTile;

template <int kDim, bool kBf16>
__global__ void __launch_bounds__(FlashTile<kDim>::kThreads, kDim == 64 ? 2 : 1)
    attend(FlashProblem p) {
  using Tile = FlashTile<kDim>;
  extern __shared__ __align__(128) unsigned char stages[];
  cuda::DeviceLane lane(stages);
  const cuda::FlashPlace at = cuda::flash_place(p, blockIdx.x, Tile::kRows);
  cuda::FlashBlock<Tile, kBf16, cuda::DeviceLane> block(lane, p, at);
  block.run();
}

class CudaFlash : public Prepared {
 public:
  explicit CudaFlash(const AttentionProblem& p) : p_(p) {
    f_.heads = p.batch * p.heads_q;
    f_.heads_q = p.heads_q;
    f_.heads_kv = p.heads_kv;
    f_.seq_q = static_cast<int>(p.seq_q);
    f_.seq_kv = static_cast<int>(p.seq_kv);
    f_.offset = static_cast<int>(p.offset(p.seq_q, p.seq_kv));
    f_.causal = p.mask != AttentionMask::kNone;
    f_.scale_log2 = static_cast<float>(p.scale * std::numbers::log2e);
    if (f_.causal) f_.group_heads = cuda::flash_group_heads(f_, static_cast<int>(p.head_dim));
    with_kernel([](auto tile, auto kernel) { allow_shared(kernel, tile.kSharedBytes); });
  }

  void run(const Call& call) override {
    FlashProblem problem = f_;
    problem.q = call.in[kAttentionQ].as<const std::uint16_t>();
    problem.k = call.in[kAttentionK].as<const std::uint16_t>();
    problem.v = call.in[kAttentionV].as<const std::uint16_t>();
    problem.o = call.out[kAttentionO].as<std::uint16_t>();
    problem.lse = call.out[kAttentionLse].as<float>();
    with_kernel([&](auto tile, auto kernel) {
      const std::int64_t blocks = p_.batch * p_.heads_q * ceil_div(p_.seq_q, tile.kRows);
      launch_grid(kernel, dim3(static_cast<unsigned>(blocks)), dim3(tile.kThreads),
                  tile.kSharedBytes, problem);
    });
  }

 private:
  template <typename Body>
  void with_kernel(const Body& body) const {
    const bool bf16 = p_.q_dtype == DType::kBf16;
    if (p_.head_dim == 64) {
      bf16 ? body(FlashTile<64>{}, attend<64, true>) : body(FlashTile<64>{}, attend<64, false>);
    } else {
      bf16 ? body(FlashTile<128>{}, attend<128, true>) : body(FlashTile<128>{}, attend<128, false>);
    }
  }

  AttentionProblem p_;
  FlashProblem f_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaFlash>(AttentionProblem::from(problem));
}

std::string declines(const Problem& problem) {
  return cuda_tile_declines(AttentionProblem::from(problem));
}

Arithmetic arithmetic(const Problem& problem) {
  const bool narrow = AttentionProblem::from(problem).head_dim == 64;
  return tensor_core_attention(problem, narrow ? FlashTile<64>::kKeys : FlashTile<128>::kKeys,
                               kFlushedWeight);
}

const Registration registration{{
    .op = "attention",
    .name = "cuda_flash",
    .summary = "CUDA, fused on mma.sync, 128 rows x 32 or 64 keys, cp.async in 3 stages",
    .needs_cuda = 80,
    .limits =
        cuda_tile_limits({{.key = "seq_q", .max = 1 << 30}, {.key = "seq_kv", .max = 1 << 30}}),
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_tensor_bf16",
}};
const LaunchesKernel launch_of_attend("attention/cuda_flash", "attend",
                                      {.threads = FlashTile<128>::kThreads,
                                       .dynamic_shared_bytes = FlashTile<128>::kSharedBytes});

}  // namespace
}  // namespace pareto
