// Baseline: oneDNN's bf16 matmul on weights in its own layout, bias and activation fused.
#include <memory>

#include "harness/variant.h"
#include "kernels/onednn_linear.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

class OneDnnBf16 : public Prepared {
 public:
  OneDnnBf16(const QgemmProblem& p, std::span<const Tensor> in, int threads)
      : linear_({.M = p.M,
                 .N = p.N,
                 .K = p.K,
                 .dtype = DType::kBf16,
                 .out = p.out_dtype,
                 .activation = p.activation},
                in[kQgemmW].data, in[kQgemmBias].as<const float>(), threads) {}

  void run(const Call& call) override {
    linear_.run(call.in[kQgemmX].data, call.out[kQgemmY].data, call.pool.size());
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return linear_.packed_bytes(); }

 private:
  OneDnnLinear linear_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<OneDnnBf16>(QgemmProblem::from(problem), in, pool.size());
}

// vdpbf16ps and AMX take subnormals for zero and add products one pair after another.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  a.flushes_subnormals = true;
  a.relu_drops_nan = true;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "onednn_bf16",
    .summary = "oneDNN bf16 matmul, weights in its own layout",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "scheme", .values = {"bf16"}},
               {.key = "operands", .values = {"float"}},
               {.key = "out_dtype", .values = {"fp32", "bf16"}},
               {.key = "M", .min = 1},
               {.key = "N", .min = 1},
               {.key = "K", .min = 1}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "dot_bf16",
    .library = OneDnn::name(),
}};

}  // namespace
}  // namespace pareto
