// Baseline: PyTorch's linear layer in bf16 on prepacked weights, what torch.compile with freezing
// makes of it: oneDNN's inner product with bias and activation fused.
//
// Its result is bf16. An fp32 y is that, widened.

#include <memory>
#include <optional>

#include "harness/variant.h"
#include "kernels/torch_library.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using Reorder = at::Tensor(const at::Tensor&, std::optional<c10::SymInt>);
using Linear = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&,
                          std::string_view, c10::List<std::optional<at::Scalar>>,
                          std::optional<std::string_view>);

const char* post_op_of(Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return "relu";
    case Activation::kGelu:
      return "gelu";
    case Activation::kSilu:
      return "swish";
    case Activation::kSigmoid:
      return "sigmoid";
    case Activation::kTanh:
      return "tanh";
    default:
      return "none";
  }
}

class TorchBf16 : public Prepared {
 public:
  TorchBf16(const QgemmProblem& p, std::span<const Tensor> in)
      : linear_(torch_operator<Linear>("mkldnn::_linear_pointwise")),
        post_op_(post_op_of(p.activation)) {
    if (p.activation == Activation::kGelu) algorithm_ = "none";
    w_ = torch_operator<Reorder>("mkldnn::_reorder_linear_weight")
             .call(torch_view(in[kQgemmW]), c10::SymInt(p.M));
    if (p.has_bias) bias_ = torch_view(in[kQgemmBias]).to(at::kBFloat16);
    packed_bytes_ = static_cast<std::size_t>(p.N * p.K) * 2 + (p.has_bias ? p.N * 2 : 0);
  }

  void run(const Call& call) override {
    const TorchScope scope(call.pool.size());
    const at::Tensor y =
        linear_.call(torch_view(call.in[kQgemmX]), w_, bias_, post_op_, no_scalars_, algorithm_);
    torch_view(call.out[kQgemmY]).copy_(y);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return packed_bytes_; }

 private:
  c10::TypedOperatorHandle<Linear> linear_;
  const char* post_op_;
  std::optional<std::string_view> algorithm_;
  c10::List<std::optional<at::Scalar>> no_scalars_;
  at::Tensor w_;
  std::optional<at::Tensor> bias_;
  std::size_t packed_bytes_ = 0;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const TorchScope scope(pool.size());
  return std::make_unique<TorchBf16>(QgemmProblem::from(problem), in);
}

// An fp32 y went through bf16: as large as 2^16 roundings of fp32. The bias is rounded to bf16,
// too.
constexpr int kRoundedToBf16 = 1 << 16;

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.flushes_subnormals = true;
  if (p.has_bias) a.epilogue_roundings += kRoundedToBf16;
  if (p.out_dtype == DType::kF32) a.epilogue_roundings += kRoundedToBf16;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "torch_bf16",
    .summary = "PyTorch linear in bf16 on prepacked weights (oneDNN); fp32 results pass bf16",
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
    .library = TorchScope::name(),
}};

}  // namespace
}  // namespace pareto
