// Baseline: PyTorch's linear layer in fp32, which is MKL's sgemm.
#include <ATen/ops/linear.h>

#include <memory>
#include <optional>

#include "harness/variant.h"
#include "kernels/torch_library.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

class TorchFp32 : public Prepared {
 public:
  TorchFp32(const QgemmProblem& problem, bool relu) : has_bias_(problem.has_bias), relu_(relu) {}

  void run(const Call& call) override {
    const TorchScope scope(call.pool.size());
    at::Tensor y = torch_view(call.out[kQgemmY]);
    std::optional<at::Tensor> bias;
    if (has_bias_) bias = torch_view(call.in[kQgemmBias]);
    at::linear_out(y, torch_view(call.in[kQgemmX]), torch_view(call.in[kQgemmW]), bias);
    if (relu_) y.relu_();
  }

 private:
  bool has_bias_;
  bool relu_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return std::make_unique<TorchFp32>(p, p.activation == Activation::kRelu);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "torch_fp32",
    .summary = "PyTorch linear in fp32: MKL sgemm",
    .limits = {{.key = "scheme", .values = {"fp32"}},
               {.key = "operands", .values = {"float"}},
               {.key = "activation", .values = {"none", "relu"}},
               {.key = "out_dtype", .values = {"fp32"}}},
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
