// A linear layer of oneDNN: y[M,N] = f(x[M,K] · w[N,K]ᵀ + bias[N]) with w in the layout that the
// library chooses, bias and activation inside the product.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/onednn_library.h"
#include "reference/activation.h"

namespace pareto {

struct OneDnnLinearShape {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  DType dtype = DType::kF32;  ///< of x and w: kF32 kBf16 kS8
  DType out = DType::kF32;    ///< of y: kF32 kBf16 kS32
  Activation activation = Activation::kNone;
};

class OneDnnLinear {
 public:
  /// Host pointers: `w` [N,K] row-major and `bias` [N] fp32 (or null) are copied.
  OneDnnLinear(const OneDnnLinearShape& shape, const void* w, const float* bias, int threads) {
    OneDnn::use_threads(threads);
    using Tag = dnnl::memory::format_tag;
    const dnnl::memory::data_type type = onednn_type(shape.dtype);
    const dnnl::memory::desc x({shape.M, shape.K}, type, Tag::ab);
    const dnnl::memory::desc given({shape.K, shape.N}, type, Tag::ba);
    const dnnl::memory::desc any({shape.K, shape.N}, type, Tag::any);
    const dnnl::memory::desc y({shape.M, shape.N}, onednn_type(shape.out), Tag::ab);
    const dnnl::memory::desc row({1, shape.N}, dnnl::memory::data_type::f32, Tag::ab);
    const dnnl::matmul::desc desc =
        bias == nullptr ? dnnl::matmul::desc(x, any, y) : dnnl::matmul::desc(x, any, row, y);
    const auto pd = product_.make<dnnl::matmul>(desc, attributes(shape.activation));
    pack(w, given, pd.weights_desc());
    product_.add(DNNL_ARG_SRC, x, nullptr);
    product_.add(DNNL_ARG_DST, y, nullptr);
    if (bias != nullptr) {
      bias_ = AlignedBuffer<float>(shape.N);
      std::copy_n(bias, shape.N, bias_.data());
      product_.add(DNNL_ARG_BIAS, row, bias_.data());
    }
  }

  /// x [M,K] and y [M,N], row-major, aligned to their elements.
  void run(const void* x, void* y, int threads) {
    OneDnn::use_threads(threads);
    product_.set(DNNL_ARG_SRC, x);
    product_.set(DNNL_ARG_DST, y);
    product_.run();
  }

  [[nodiscard]] std::size_t packed_bytes() const { return w_.bytes() + bias_.bytes(); }

 private:
  static dnnl::primitive_attr attributes(Activation activation) {
    dnnl::primitive_attr attr = OneDnnPrimitive::attributes();
    if (activation == Activation::kNone) return attr;
    dnnl::post_ops after;
    after.append_eltwise(1, algorithm_of(activation), activation == Activation::kSilu ? 1 : 0, 0);
    attr.set_post_ops(after);
    return attr;
  }

  static dnnl::algorithm algorithm_of(Activation activation) {
    switch (activation) {
      case Activation::kGelu:
        return dnnl::algorithm::eltwise_gelu_erf;
      case Activation::kSilu:
        return dnnl::algorithm::eltwise_swish;
      case Activation::kSigmoid:
        return dnnl::algorithm::eltwise_logistic;
      case Activation::kTanh:
        return dnnl::algorithm::eltwise_tanh;
      default:
        return dnnl::algorithm::eltwise_relu;
    }
  }

  void pack(const void* w, const dnnl::memory::desc& given, const dnnl::memory::desc& wanted) {
    w_ = AlignedBuffer<std::byte>(static_cast<std::int64_t>(wanted.get_size()));
    dnnl::memory from(given, OneDnn::engine(), const_cast<void*>(w));
    dnnl::memory to(wanted, OneDnn::engine(), w_.data());
    dnnl::stream stream(OneDnn::engine());
    dnnl::reorder(from, to).execute(stream, from, to);
    stream.wait();
    product_.add(DNNL_ARG_WEIGHTS, wanted, w_.data());
  }

  OneDnnPrimitive product_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

}  // namespace pareto
