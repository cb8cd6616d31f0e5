// Baseline: PyTorch's int8 linear layer for dynamic W8A8, as torch.compile lowers it on CPUs: x
// quantized per token, oneDNN's product on prepacked weights with their scales inside, the token's
// scale and the bias afterwards.
//
// Codes of x go in as u8 with the zero point 128: s8 is taken too, by a plain loop (a thousand
// times slower without AMX).
//
// The quantizer of x is ours: the library's own divides in fp32 and gives other codes.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "harness/aligned_buffer.h"
#include "harness/variant.h"
#include "kernels/qgemm/quantize_avx512.h"
#include "kernels/torch_library.h"
#include "reference/qgemm.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

using Prepack = at::Tensor(at::Tensor, std::optional<c10::List<std::int64_t>>);
using Linear = at::Tensor(at::Tensor, double, std::int64_t, at::Tensor, at::Tensor, at::Tensor,
                          std::optional<at::Tensor>, double, std::int64_t,
                          std::optional<at::ScalarType>, std::string_view,
                          c10::List<std::optional<at::Scalar>>, std::string_view);

constexpr std::uint8_t kZeroPoint = 128;

class TorchInt8 : public Prepared {
 public:
  TorchInt8(const QgemmProblem& p, std::span<const Tensor> in)
      : p_(p),
        linear_(torch_operator<Linear>("onednn::qlinear_pointwise")),
        x_(at::empty({p.M, p.K}, at::kByte)),
        x_scale_(p.M),
        bias_(p.N) {
    w_ = torch_operator<Prepack>("onednn::qlinear_prepack")
             .call(torch_view(in[kQgemmW]), c10::List<std::int64_t>({p.M, p.K}));
    w_scale_ = torch_view(in[kQgemmWScale]).clone();
    w_zero_ = at::zeros({p.N}, at::kInt);
    if (p.has_bias) std::copy_n(in[kQgemmBias].as<const float>(), p.N, bias_.data());
  }

  void run(const Call& call) override {
    const TorchScope scope(call.pool.size());
    const float* x = call.in[kQgemmX].as<const float>();
    at::parallel_for(0, p_.M, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m) quantize(x + m * p_.K, m);
    });
    const at::Tensor product = linear_.call(x_, 1, kZeroPoint, w_, w_scale_, w_zero_, std::nullopt,
                                            1, 0, at::kFloat, "none", no_scalars_, "");
    const float* scaled = product.const_data_ptr<float>();
    float* y = call.out[kQgemmY].as<float>();
    at::parallel_for(0, p_.M, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m) finish(scaled + m * p_.N, m, y + m * p_.N);
    });
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return static_cast<std::size_t>(p_.N * p_.K) + w_scale_.nbytes() +
           (p_.has_bias ? bias_.bytes() : 0);
  }

 private:
  void quantize(const float* x, std::int64_t m) {
    x_scale_[m] = scale_of(amax_avx512(x, p_.K), 127);
    auto* codes = x_.mutable_data_ptr<std::uint8_t>() + m * p_.K;
    quantize_s8_avx512(x, p_.K, x_scale_[m], reinterpret_cast<std::int8_t*>(codes));
    for (std::int64_t k = 0; k < p_.K; ++k) codes[k] ^= kZeroPoint;
  }

  void finish(const float* scaled, std::int64_t m, float* y) const {
    const float x_scale = x_scale_[m];
    for (std::int64_t n = 0; n < p_.N; ++n) y[n] = scaled[n] * x_scale + bias_[n];
    if (p_.activation != Activation::kRelu) return;
    for (std::int64_t n = 0; n < p_.N; ++n) y[n] = std::max(y[n], 0.0F);
  }

  QgemmProblem p_;
  c10::TypedOperatorHandle<Linear> linear_;
  c10::List<std::optional<at::Scalar>> no_scalars_;
  at::Tensor x_;
  AlignedBuffer<float> x_scale_;
  AlignedBuffer<float> bias_;  // zeros if there is none
  at::Tensor w_;
  at::Tensor w_scale_;
  at::Tensor w_zero_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const TorchScope scope(pool.size());
  return std::make_unique<TorchInt8>(QgemmProblem::from(problem), in);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.epilogue_roundings = 4;  // conversion, two scales, bias
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "torch_int8",
    .summary = "PyTorch onednn::qlinear_pointwise, s8 x per token and s8 weights (oneDNN)",
    // Without VNNI the library multiplies by vpmaddubsw, whose pairs saturate.
    .needs = Isa::kAvx512 | Isa::kAvx512Vnni,
    .limits = {{.key = "scheme", .values = {"w8a8"}},
               {.key = "operands", .values = {"float"}},
               {.key = "activation", .values = {"none", "relu"}},
               {.key = "out_dtype", .values = {"fp32"}},
               {.key = "M", .min = 1},
               {.key = "N", .min = 1},
               {.key = "K", .min = 1}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "vnni_int8",
    .library = TorchScope::name(),
}};

}  // namespace
}  // namespace pareto
