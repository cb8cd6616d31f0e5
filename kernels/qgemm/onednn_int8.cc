// Baseline: oneDNN's s8·s8 matmul on weights in its own layout. Quantizing x per token and scaling
// the int32 sums is what the library leaves to its caller.
#include <algorithm>
#include <memory>
#include <span>

#include "harness/variant.h"
#include "kernels/onednn_linear.h"
#include "kernels/qgemm/quantize_avx512.h"
#include "reference/qgemm.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

class OneDnnInt8 : public Prepared {
 public:
  OneDnnInt8(const QgemmProblem& p, std::span<const Tensor> in, int threads)
      : p_(p),
        linear_({.M = p.M, .N = p.N, .K = p.K, .dtype = DType::kS8, .out = DType::kS32},
                in[kQgemmW].data, nullptr, threads),
        x_(p.M * p.K),
        x_scale_(p.M),
        acc_(p.M * p.N),
        w_scale_(p.N),
        bias_(p.N) {
    std::copy_n(in[kQgemmWScale].as<const float>(), p.N, w_scale_.data());
    if (p.has_bias) std::copy_n(in[kQgemmBias].as<const float>(), p.N, bias_.data());
  }

  void run(const Call& call) override {
    OneDnn::use_threads(call.pool.size());
    const float* x = call.in[kQgemmX].as<const float>();
    onednn_for(p_.M, [&](std::int64_t m) { quantize(x + m * p_.K, m); });
    linear_.run(x_.data(), acc_.data(), call.pool.size());
    float* y = call.out[kQgemmY].as<float>();
    onednn_for(p_.M, [&](std::int64_t m) { scale(m, y + m * p_.N); });
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return linear_.packed_bytes() + w_scale_.bytes() + (p_.has_bias ? bias_.bytes() : 0);
  }

 private:
  void quantize(const float* x, std::int64_t m) {
    std::int8_t* q = x_.data() + m * p_.K;
    x_scale_[m] = scale_of(amax_avx512(x, p_.K), 127);
    quantize_s8_avx512(x, p_.K, x_scale_[m], q);
  }

  void scale(std::int64_t m, float* y) const {
    const std::int32_t* acc = acc_.data() + m * p_.N;
    const float x_scale = x_scale_[m];
    for (std::int64_t n = 0; n < p_.N; ++n) {
      y[n] = static_cast<float>(acc[n]) * x_scale * w_scale_[n] + bias_[n];
    }
    if (p_.activation != Activation::kRelu) return;
    for (std::int64_t n = 0; n < p_.N; ++n) y[n] = std::max(y[n], 0.0F);
  }

  QgemmProblem p_;
  OneDnnLinear linear_;
  AlignedBuffer<std::int8_t> x_;
  AlignedBuffer<float> x_scale_;
  AlignedBuffer<std::int32_t> acc_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;  // zeros if there is none
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<OneDnnInt8>(QgemmProblem::from(problem), in, pool.size());
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.epilogue_roundings = 4;  // conversion, two scales, bias
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "onednn_int8",
    .summary = "oneDNN s8 matmul, x quantized per token before and int32 sums scaled after it",
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
    .library = OneDnn::name(),
}};

}  // namespace
}  // namespace pareto
