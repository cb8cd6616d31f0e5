// The simplest fused attention on a GPU: one warp per query, one key at a time, online softmax.
//
// Lane l holds elements l, l + 32, … of q and o, so that reads of a row of K or V are contiguous;
// a logit is summed over the warp by shuffles, and every lane keeps the same maximum and sum.
// Bottleneck: five dependent shuffles and an exponential per key, and every query reads all of K
// and V. The first step of the ladder.
// Layout: device pointers, operands as given; no workspace.
// The loop (warp_attention.cuh) runs in the host emulator.
#include <memory>

#include "harness/variant.h"
#include "kernels/attention/cuda_dense.h"
#include "kernels/attention/warp_attention.cuh"
#include "kernels/cuda_lane.cuh"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "reference/attention.h"

namespace pareto {
namespace {

using Sizes = cuda::WarpAttentionSizes;
template <typename T>
using Operands = cuda::WarpAttentionOperands<T>;

template <typename T>
__global__ void attend(Sizes sizes, Operands<T> operands) {
  cuda::DeviceThread lane;
  cuda::warp_attention(lane, thread_index(), sizes, operands);
}

class CudaNaive : public Prepared {
 public:
  explicit CudaNaive(const Problem& problem) : p_(AttentionProblem::from(problem)) {
    sizes_ = {.rows = p_.batch * p_.heads_q * p_.seq_q,
              .heads_q = p_.heads_q,
              .heads_kv = p_.heads_kv,
              .seq_q = p_.seq_q,
              .seq_kv = p_.seq_kv,
              .head_dim = p_.head_dim,
              .head_dim_v = p_.head_dim_v,
              .offset = p_.offset(p_.seq_q, p_.seq_kv),
              .causal = p_.mask != AttentionMask::kNone,
              .scale = static_cast<float>(p_.scale)};
  }

  void run(const Call& call) override {
    p_.q_dtype == DType::kBf16 ? run_as<__nv_bfloat16>(call) : run_as<float>(call);
  }

 private:
  template <typename T>
  void run_as(const Call& call) {
    const Operands<T> operands{call.in[kAttentionQ].as<const T>(),
                               call.in[kAttentionK].as<const T>(),
                               call.in[kAttentionV].as<const T>(), call.out[kAttentionO].as<T>(),
                               call.out[kAttentionLse].as<float>()};
    launch(attend<T>, sizes_.rows * cuda::kWarpLanes, sizes_, operands);
  }

  AttentionProblem p_;
  Sizes sizes_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaNaive>(problem);
}

std::string declines(const Problem& problem) {
  return AttentionProblem::from(problem).softcap != 0 ? "softcap: none here" : "";
}

// Logits are summed in 32 lanes, outputs in one chain over the keys: the longer chain is declared.
Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.kv_block = 1;
  a.u_exp = 0x1p-22;  // CUDA's expf: 2 units in the last place
  return a;
}

const Registration registration{{
    .op = "attention",
    .name = "cuda_naive",
    .summary = "CUDA, one warp per query, online softmax key by key",
    .needs_cuda = 80,
    .limits = cuda_dense_limits({{.key = "dtype", .values = {"fp32", "bf16"}},
                                 {.key = "head_dim", .max = cuda::kWarpAttentionDim},
                                 {.key = "head_dim_v", .max = cuda::kWarpAttentionDim}}),
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_fma_fp32",
}};

}  // namespace
}  // namespace pareto
