// Baseline: attention by a graph of cuDNN 9, as its heuristics plan it.
//
// Layout: device pointers, operands as given; the library's workspace.
#include <memory>

#include "harness/cuda_library.h"
#include "harness/errors.h"
#include "harness/variant.h"
#include "kernels/attention/cuda_dense.h"
#include "kernels/attention/cudnn_graph.h"
#include "reference/attention.h"

namespace pareto {
namespace {

#ifdef PARETO_WITH_CUDNN
class CudnnSdpa : public Prepared {
 public:
  explicit CudnnSdpa(const AttentionProblem& p) {
    if (p.batch * p.heads_q * p.seq_q > 0) attention_ = std::make_unique<CudnnAttention>(p);
  }

  void run(const Call& call) override {
    if (attention_ == nullptr) return;
    attention_->run(call.in[kAttentionQ].data, call.in[kAttentionK].data, call.in[kAttentionV].data,
                    call.out[kAttentionO].data, call.out[kAttentionLse].data);
  }

 private:
  std::unique_ptr<CudnnAttention> attention_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudnnSdpa>(AttentionProblem::from(problem));
}
#else
std::unique_ptr<Prepared> prepare(const Problem& /*problem*/, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  throw CannotRunError("built without nvidia-cudnn-frontend or cuDNN's headers");
}
const BuiltWithout without("attention/cudnn_sdpa", "nvidia-cudnn-frontend or cuDNN's headers");
#endif

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (p.softcap != 0) return "softcap: the library has none together with a mask";
  // Keys beyond seq_kv in its last block are −∞ before scaling, which 0 turns to NaN and a negative
  // factor to +∞.
  if (p.scale <= 0) return "scale: the library takes none of 0 or below";
  if (p.seq_kv == 0) return "no keys: the library wants at least one";
  if (p.mask == AttentionMask::kCausal && p.seq_q > p.seq_kv) {
    return "causal with more queries than keys: the library has none aligned to the last key";
  }
  return "";
}

// The library does not say how many keys it takes in one block.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a = tensor_core_attention(problem, 64, 0);
  a.deterministic = false;  // few queries: the keys are split, and the parts added in any order
  return a;
}

const Registration registration{{
    .op = "attention",
    .name = "cudnn_sdpa",
    .summary = "cuDNN 9, fused attention as a graph",
    .needs_cuda = 80,
    .limits = cuda_dense_limits({{.key = "dtype", .values = {"bf16", "fp16"}},
                                 {.key = "head_dim", .min = 8, .max = 256, .multiple_of = 8},
                                 {.key = "head_dim_v", .min = 8, .max = 256, .multiple_of = 8}}),
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_tensor_bf16",
}};
const NeedsCudaLibrary runtime("attention/cudnn_sdpa", kCudartSoname);
const NeedsCudaLibrary library("attention/cudnn_sdpa", kCudnnSoname);

}  // namespace
}  // namespace pareto
