// Baseline: PyTorch's fused attention for CPUs, as scaled_dot_product_attention calls it; its own
// entry also returns the LSE.
//
// The library knows no group of query heads under one KV head: every KV head becomes a batch entry
// of its own, whose query heads share K and V by strides of 0, so that nothing is copied
// (enable_gqa would copy both once per query head). Its causal mask is the top-left one; a
// bottom-right one that differs is a matrix of 0 and −∞, as its users write it.
//
// What fails the checks is the library's: its exponential for bf16 and fp16 gives 1 − 5e-5 at 0,
// which the LSE shows; rows that `allowed` or a bias of −∞ leaves without a key have an LSE of 0;
// NaN in keys that only `allowed` hides reaches the output.
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>

#include "harness/errors.h"
#include "harness/variant.h"
#include "kernels/torch_library.h"
#include "reference/attention.h"

namespace pareto {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

class TorchSdpa : public Prepared {
 public:
  explicit TorchSdpa(const Problem& problem) : p_(AttentionProblem::from(problem)) {
    if (p_.softcap != 0) throw CannotRunError("softcap: PyTorch's attention has none");
    if (p_.head_dim_v != p_.head_dim) {
      throw CannotRunError("head_dim_v unlike head_dim: not in PyTorch's fused attention");
    }
    const bool top_left = p_.mask == AttentionMask::kCausalTopLeft;
    // Later keys are seen by nobody; whatever they hold would reach the output.
    keys_ = top_left ? std::min(p_.seq_q, p_.seq_kv) : p_.seq_kv;
    // Queries that come before the first key see none.
    empty_rows_ =
        p_.mask == AttentionMask::kCausal ? std::max<std::int64_t>(p_.seq_q - p_.seq_kv, 0) : 0;
    // A single query at the end sees all keys.
    const bool causal = top_left || (p_.mask == AttentionMask::kCausal && p_.seq_q > 1);
    // A mask of any other kind excludes the built-in one.
    is_causal_ = causal && (top_left || p_.seq_q == p_.seq_kv) && !p_.has_bias && !p_.has_allowed;
    if (causal && !is_causal_) visible_ = visible_keys();
  }

  void run(const Call& call) override {
    const TorchScope scope(call.pool.size());
    const at::Tensor q =
        torch_view(call.in[kAttentionQ]).view({slices(), p_.group(), p_.seq_q, p_.head_dim});
    const auto [o, lse] = at::_scaled_dot_product_flash_attention_for_cpu(
        q, shared(call.in[kAttentionK]), shared(call.in[kAttentionV]), 0, is_causal_, mask(call),
        p_.scale);
    const std::int64_t rows = p_.seq_q;
    const std::int64_t heads = p_.group();
    torch_view(call.out[kAttentionO]).view({slices(), heads, rows, p_.head_dim}).copy_(o);
    const at::Tensor all_lse = torch_view(call.out[kAttentionLse]).view({slices(), heads, rows});
    all_lse.copy_(lse);
    if (empty_rows_ > 0) all_lse.narrow(2, 0, empty_rows_).fill_(kMinusInfinity);
  }

 private:
  // KV heads of the whole batch.
  [[nodiscard]] std::int64_t slices() const { return p_.batch * p_.heads_kv; }

  // One KV head's keys or values for all its query heads.
  [[nodiscard]] at::Tensor shared(const Tensor& tensor) const {
    return torch_view(tensor)
        .view({slices(), 1, p_.seq_kv, p_.head_dim})
        .narrow(2, 0, keys_)
        .expand({slices(), p_.group(), keys_, p_.head_dim});
  }

  // [seq_q, seq_kv], 0 where a query sees a key, else −∞.
  [[nodiscard]] at::Tensor visible_keys() const {
    const at::Tensor hidden =
        at::ones({p_.seq_q, p_.seq_kv}, at::kBool).triu(p_.offset(p_.seq_q, p_.seq_kv) + 1);
    return at::zeros({p_.seq_q, p_.seq_kv}, at::kFloat).masked_fill(hidden, kMinusInfinity);
  }

  // What bias and masks of the problem come to in the library's terms: added to the logits.
  [[nodiscard]] std::optional<at::Tensor> mask(const Call& call) const {
    at::Tensor mask = visible_;
    if (p_.has_bias) {
      const at::Tensor bias = torch_view(call.in[kAttentionBias]);
      mask = mask.defined() ? bias.add(mask) : bias;
    }
    if (p_.has_allowed) {
      if (!mask.defined()) mask = at::zeros({1, 1}, at::kFloat);
      const at::Tensor allowed = torch_view(call.in[kAttentionAllowed]).ne(0);
      mask = at::where(allowed, mask, kMinusInfinity);
    }
    if (!mask.defined()) return std::nullopt;
    return widened(mask).narrow(3, 0, keys_);
  }

  // In the batch and heads of q above; a mask that is the same for all stays one matrix.
  [[nodiscard]] at::Tensor widened(const at::Tensor& mask) const {
    if (mask.dim() == 2 || (mask.size(0) == 1 && mask.size(1) == 1)) {
      return mask.expand({1, 1, p_.seq_q, p_.seq_kv});
    }
    return mask.expand({p_.batch, p_.heads_q, p_.seq_q, p_.seq_kv})
        .reshape({slices(), p_.group(), p_.seq_q, p_.seq_kv});
  }

  AttentionProblem p_;
  std::int64_t keys_ = 0;        // that the library is shown
  std::int64_t empty_rows_ = 0;  // queries without a key, at the beginning
  bool is_causal_ = false;
  at::Tensor visible_;  // undefined: the mask needs no tensor
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& pool) {
  const TorchScope scope(pool.size());
  return std::make_unique<TorchSdpa>(problem);
}

// Blocks of 512 keys, an exponential good to 14 bits for 16-bit types and to 20 for fp32, P in the
// operands' type before P·V while the row sum adds it unrounded.
Arithmetic arithmetic(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  Arithmetic a;
  a.u_exp = p.q_dtype == DType::kF32 ? 0x1p-20 : 0x1p-14;
  a.kv_block = 512;
  a.p_underflow = 0x1p-126;
  a.leaks_nonfinite = true;  // 0 · NaN of masked keys
  if (p.q_dtype == DType::kBf16) {
    a.u_p = kUBf16;
    a.flushes_subnormals = true;
  }
  if (p.q_dtype == DType::kF16) {
    a.u_p = kUFp16;
    a.p_underflow = 0x1p-25;
  }
  return a;
}

const Registration registration{{
    .op = "attention",
    .name = "torch_sdpa",
    .summary = "PyTorch's fused scaled_dot_product_attention for CPUs",
    .limits = {{.key = "layout", .values = {"dense"}},
               {.key = "dtype", .values = {"fp32", "bf16", "fp16"}},
               {.key = "kv_dtype", .values = {"same"}},
               {.key = "window_left", .max = -1},
               {.key = "window_right", .max = -1},
               {.key = "v", .values = {"given"}},
               {.key = "alibi", .values = {"none"}},
               {.key = "sinks", .values = {"none"}},
               {.key = "batch", .min = 1},
               {.key = "heads_q", .min = 1},
               {.key = "heads_kv", .min = 1},
               {.key = "seq_q", .min = 1},
               {.key = "seq_kv", .min = 1},
               {.key = "head_dim_v", .min = 1}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .own_threads = true,
    .unit = "fma_fp32",
    .library = TorchScope::name(),
}};

}  // namespace
}  // namespace pareto
