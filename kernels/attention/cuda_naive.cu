// The simplest fused attention on a GPU: one warp per query, one key at a time, online softmax.
//
// Lane l holds elements l, l + 32, … of q and o, so that reads of a row of K or V are contiguous;
// a logit is summed over the warp by shuffles, and every lane keeps the same maximum and sum.
// Bottleneck: five dependent shuffles and an exponential per key, and every query reads all of K
// and V. The first step of the ladder.
// Layout: device pointers, operands as given; no workspace.
// Not measured yet: no GPU was at hand.
#include <limits>
#include <memory>

#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "reference/attention.h"

namespace pareto {
namespace {

constexpr int kWarp = 32;
constexpr int kPerLane = 8;  // head_dim up to 256

struct Sizes {
  std::int64_t rows = 0;  ///< batch · heads_q · seq_q
  std::int64_t heads_q = 0;
  std::int64_t heads_kv = 0;
  std::int64_t seq_q = 0;
  std::int64_t seq_kv = 0;
  std::int64_t head_dim = 0;
  std::int64_t head_dim_v = 0;
  std::int64_t offset = 0;  ///< query i stands at key position i + offset
  bool causal = false;
  float scale = 1;
};

// Sum over the warp; every lane gets the same bits, since each step adds the same pairs.
__device__ float warp_sum(float x) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    x += __shfl_xor_sync(0xffffffffU, x, distance);
  }
  return x;
}

__device__ void store_as(float* out, float value) { *out = value; }
__device__ void store_as(__nv_bfloat16* out, float value) { *out = __float2bfloat16_rn(value); }

// Logits of one query without its keys; a row of weights summed so far.
struct OnlineSoftmax {
  float maximum = -INFINITY;
  float sum = 0;

  // Takes a logit above −∞: the factor of what was summed before, and the weight of the new key.
  __device__ void take(float logit, float& rescale, float& weight) {
    const float above = fmaxf(maximum, logit);
    rescale = expf(maximum - above);
    weight = expf(logit - above);
    maximum = above;
    sum = fmaf(sum, rescale, weight);
  }
};

template <typename T>
__global__ void attend(Sizes s, const T* q, const T* k, const T* v, T* o, float* lse) {
  const std::int64_t row = thread_index() / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (row >= s.rows) return;  // whole warps
  const DenseQuery query = dense_query(row, s.seq_q, s.heads_q, s.heads_kv);
  const T* keys = k + query.kv_slice * s.seq_kv * s.head_dim;
  const T* values = v + query.kv_slice * s.seq_kv * s.head_dim_v;
  float q_part[kPerLane] = {};
  float o_part[kPerLane] = {};
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int at = lane + i * kWarp;
    if (at < s.head_dim) q_part[i] = to_float(q[row * s.head_dim + at]);
  }
  const KeySpan span = s.causal ? causal_keys(query.i + s.offset, s.seq_kv) : KeySpan{0, s.seq_kv};
  OnlineSoftmax softmax;
  for (std::int64_t j = span.lo; j < span.hi; ++j) {
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int at = lane + i * kWarp;
      if (at < s.head_dim) dot = fmaf(q_part[i], to_float(keys[j * s.head_dim + at]), dot);
    }
    const float logit = s.scale * warp_sum(dot);
    if (logit == -INFINITY) continue;
    float rescale = 0;
    float weight = 0;
    softmax.take(logit, rescale, weight);
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) {
      const int at = lane + i * kWarp;
      if (at < s.head_dim_v) {
        o_part[i] = fmaf(weight, to_float(values[j * s.head_dim_v + at]), o_part[i] * rescale);
      }
    }
  }
  const bool empty = softmax.maximum == -INFINITY && softmax.sum == 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int at = lane + i * kWarp;
    if (at < s.head_dim_v) {
      store_as(o + row * s.head_dim_v + at, empty ? 0 : o_part[i] / softmax.sum);
    }
  }
  if (lane == 0) lse[row] = empty ? -INFINITY : softmax.maximum + logf(softmax.sum);
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
    launch(attend<T>, sizes_.rows * kWarp, sizes_, call.in[kAttentionQ].as<const T>(),
           call.in[kAttentionK].as<const T>(), call.in[kAttentionV].as<const T>(),
           call.out[kAttentionO].as<T>(), call.out[kAttentionLse].as<float>());
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
    .limits = {{.key = "layout", .values = {"dense"}},
               {.key = "dtype", .values = {"fp32", "bf16"}},
               {.key = "kv_dtype", .values = {"same"}},
               {.key = "out_dtype", .values = {"same"}},
               {.key = "head_dim", .max = kWarp * kPerLane},
               {.key = "head_dim_v", .max = kWarp * kPerLane},
               {.key = "window_left", .max = -1},
               {.key = "window_right", .max = -1},
               {.key = "v", .values = {"given"}},
               {.key = "bias", .values = {"none"}},
               {.key = "allowed", .values = {"none"}},
               {.key = "alibi", .values = {"none"}},
               {.key = "sinks", .values = {"none"}}},
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_fma_fp32",
}};

}  // namespace
}  // namespace pareto
