// Baseline: PyTorch's sparse CSR tensors, which are MKL's inspector-executor kernels: Y = (W·Xᵀ)ᵀ,
// and W·x for a single token.
//
// MKL wants tokens side by side, so that X is transposed on the way in and Y on the way out; column
// order, which would need neither, is slower and copied by the library as well.
#include <ATen/ops/addmm.h>
#include <ATen/ops/addmv.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sparse_csr_tensor.h>
#include <c10/util/Exception.h>

#include <memory>

#include "harness/variant.h"
#include "kernels/torch_library.h"
#include "reference/sparse.h"

namespace pareto {
namespace {

/// Drops the library's remark that sparse tensors are new.
class Silent : public c10::WarningHandler {
 public:
  void process(const c10::Warning& /*warning*/) override {}
};

class TorchCsr : public Prepared {
 public:
  TorchCsr(const SparseProblem& p, std::span<const Tensor> in)
      : p_(p),
        // 32-bit indices: with 64 bits PyTorch converts them at every call.
        w_(at::sparse_csr_tensor(torch_view(in[kSparseOffset]).to(at::kInt),
                                 torch_view(in[kSparseIndex]).clone(),
                                 torch_view(in[kSparseValues]).clone(), {p.N, p.K},
                                 at::TensorOptions().dtype(at::kFloat))),
        y_transposed_(at::empty({p.N, p.M > 1 ? p.M : 0}, at::kFloat)) {
    if (p.has_bias) bias_ = torch_view(in[kSparseBias]).clone();
  }

  void run(const Call& call) override {
    const TorchScope scope(call.pool.size());
    const at::Tensor x = torch_view(call.in[kSparseX]);
    at::Tensor y = torch_view(call.out[kSparseY]);
    if (p_.M == 1) {
      at::Tensor row = y.select(0, 0);
      at::addmv_out(row, row, w_, x.select(0, 0), 0, 1);
    } else {
      at::addmm_out(y_transposed_, y_transposed_, w_, x.t().contiguous(), 0, 1);
      y.copy_(y_transposed_.t());
    }
    if (p_.has_bias) y.add_(bias_);
    if (p_.activation == Activation::kRelu) y.relu_();
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.values().nbytes() + w_.col_indices().nbytes() + w_.crow_indices().nbytes() +
           (p_.has_bias ? bias_.nbytes() : 0);
  }

 private:
  SparseProblem p_;
  at::Tensor w_;
  at::Tensor y_transposed_;
  at::Tensor bias_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const TorchScope scope(pool.size());
  Silent silent;
  const c10::WarningUtils::WarningHandlerGuard guard(&silent);
  return std::make_unique<TorchCsr>(SparseProblem::from(problem), in);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "torch_csr",
    .summary = "PyTorch sparse CSR: MKL's inspector-executor SpMM, SpMV for one token",
    .limits = {{.key = "format", .values = {"csr"}},
               {.key = "dtype", .values = {"fp32"}},
               {.key = "activation", .values = {"none", "relu"}},
               {.key = "out_dtype", .values = {"fp32"}},
               {.key = "M", .min = 1},
               {.key = "N", .min = 1},
               {.key = "K", .min = 1}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "fma_fp32",
    .library = TorchScope::name(),
}};

}  // namespace
}  // namespace pareto
