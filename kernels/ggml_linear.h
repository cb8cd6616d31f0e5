// A linear layer of ggml on block-quantized weights: y[M,N] = f(x[M,K] · w[N,K]ᵀ + bias[N]).
#pragma once

#include <algorithm>
#include <cstdint>

#include "harness/variant.h"
#include "kernels/ggml_library.h"
#include "kernels/plain_epilogue.h"
#include "reference/qgemm.h"

namespace pareto {

class GgmlLinear : public Prepared {
 public:
  GgmlLinear(const QgemmProblem& p, std::span<const Tensor> in, ggml_type type)
      : p_(p),
        w_(graph_.tensor(type, {p.K, p.N})),
        x_(graph_.tensor(GGML_TYPE_F32, {p.K, p.M})),
        y_(ggml_mul_mat(graph_.context(), w_, x_)),
        bias_(p.has_bias ? p.N : 0) {
    packed_bytes_ = graph_.load_weight(w_, y_, in[kQgemmW].data) + bias_.bytes();
    graph_.build(y_);
    if (p.has_bias) std::copy_n(in[kQgemmBias].as<const float>(), p.N, bias_.data());
  }

  void run(const Call& call) override {
    x_->data = call.in[kQgemmX].data;
    y_->data = call.out[kQgemmY].data;
    graph_.run(call.pool.size());
    add_bias_and_relu(call.out[kQgemmY].as<float>(), p_.M, p_.N,
                      p_.has_bias ? bias_.data() : nullptr, p_.activation, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return packed_bytes_; }

 private:
  QgemmProblem p_;
  GgmlGraph graph_;
  ggml_tensor* w_;
  ggml_tensor* x_;
  ggml_tensor* y_;
  AlignedBuffer<float> bias_;
  std::size_t packed_bytes_ = 0;
};

/// The library quantizes x to blocks of 32 codes as the schemes *_a8 do, but keeps their scale in
/// fp16: a rounding of x by 2^-11 that is common to a block. Random signs see it as one of the
/// products (u_operand), data of one sign as one of the result: 2^13 roundings of fp32.
inline Arithmetic ggml_arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.u_operand = kUFp16;
  a.epilogue_roundings = 1 << 13;
  return a;
}

/// What all of ggml's linear layers share; `block` divides K.
inline std::vector<Limit> ggml_limits(const char* scheme, std::int64_t block) {
  return {{.key = "scheme", .values = {scheme}},
          {.key = "operands", .values = {"float"}},
          {.key = "activation", .values = {"none", "relu"}},
          {.key = "out_dtype", .values = {"fp32"}},
          {.key = "M", .min = 1},
          {.key = "N", .min = 1},
          {.key = "K", .min = block, .multiple_of = block}};
}

}  // namespace pareto
