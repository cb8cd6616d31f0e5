// What the cuBLASLt baselines of qgemm share: operands that go to the library as they are, and the
// last step that it does not do.
#pragma once

#include <memory>

#include "harness/cublaslt.h"
#include "harness/cuda_library.h"
#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/qgemm/quantize_rows.cuh"
#include "reference/qgemm.h"

namespace pareto {

inline cudaDataType_t lt_type(DType dtype) {
  switch (dtype) {
    case DType::kBf16:
      return CUDA_R_16BF;
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kE4m3:
      return CUDA_R_8F_E4M3;
    case DType::kS8:
      return CUDA_R_8I;
    case DType::kS32:
      return CUDA_R_32I;
    default:
      return CUDA_R_32F;
  }
}

/// The library's product; an empty y needs none, and an empty sum is made by memset.
class LtMatrix {
 public:
  LtMatrix(const QgemmProblem& p, const LtTypes& types) : p_(p), y_type_(types.y) {
    if (p.M > 0 && p.N > 0 && p.K > 0) {
      product_ = std::make_unique<LtProduct>(p.M, p.N, p.K, types);
    }
  }
  void run(const void* x, const void* w, void* y) {
    if (product_ != nullptr) return product_->run(x, w, y);
    const bool half = y_type_ == CUDA_R_16BF || y_type_ == CUDA_R_16F;
    const auto bytes = static_cast<std::size_t>(p_.M * p_.N * (half ? 2 : 4));
    if (bytes > 0) check_cuda(cudaMemsetAsync(y, 0, bytes, call_stream()), "memset");
  }

 private:
  QgemmProblem p_;
  cudaDataType_t y_type_;
  std::unique_ptr<LtProduct> product_;
};

/// y = f(sums·scales + bias), one thread per element; the scales may be null.
template <typename Sum>
__global__ void scale_sums(std::int64_t M, std::int64_t N, const Sum* sums, const float* x_scale,
                           const float* w_scale, DeviceEpilogue epilogue) {
  const std::int64_t index = thread_index();
  if (index >= M * N) return;
  const MatrixPlace place = matrix_place(index, N);
  float value = static_cast<float>(sums[index]);
  if (x_scale != nullptr) value = value * x_scale[place.row] * w_scale[place.column];
  epilogue.store(index, place.column, value);
}

/// x and w as given, in one floating-point type. Where y has a bias, an activation or another type
/// than fp32 or that of x, the library writes fp32 and a pass of ours follows.
class LtFloats : public Prepared {
 public:
  explicit LtFloats(const QgemmProblem& p)
      : p_(p),
        direct_(!p.has_bias && p.activation == Activation::kNone &&
                (p.out_dtype == DType::kF32 || p.out_dtype == p.x_dtype)),
        product_(p, {.x = lt_type(p.x_dtype),
                     .w = lt_type(p.x_dtype),
                     .y = direct_ ? lt_type(p.out_dtype) : CUDA_R_32F}) {
    if (!direct_) sums_ = DeviceBuffer<float>(p.M * p.N);
  }

  void run(const Call& call) override { run_on(call, call.in[kQgemmW].data); }

 protected:
  void run_on(const Call& call, const void* w) {
    void* y = call.out[kQgemmY].data;
    product_.run(call.in[kQgemmX].data, w, direct_ ? y : sums_.data());
    if (direct_) return;
    const DeviceEpilogue epilogue{call.in[kQgemmBias].as<const float>(), p_.activation,
                                  p_.out_dtype, y};
    launch(scale_sums<float>, p_.M * p_.N, p_.M, p_.N, sums_.data(),
           static_cast<const float*>(nullptr), static_cast<const float*>(nullptr), epilogue);
  }

 private:
  QgemmProblem p_;
  bool direct_;
  LtMatrix product_;
  DeviceBuffer<float> sums_;
};

/// x quantized by row into codes that the library multiplies; scales, bias and activation in a pass
/// of ours.
template <typename Codes>
class LtCodes : public Prepared {
 public:
  LtCodes(const QgemmProblem& p, const LtTypes& types)
      : p_(p), product_(p, types), codes_(p.M * p.K), scales_(p.M), sums_(p.M * p.N) {}

  void run(const Call& call) override {
    start_quantize_rows<Codes>(p_.M, p_.K, call.in[kQgemmX].as<const float>(), codes_.data(),
                               scales_.data());
    product_.run(codes_.data(), call.in[kQgemmW].data, sums_.data());
    const DeviceEpilogue epilogue{call.in[kQgemmBias].as<const float>(), p_.activation,
                                  p_.out_dtype, call.out[kQgemmY].data};
    launch(scale_sums<typename Codes::Sum>, p_.M * p_.N, p_.M, p_.N, sums_.data(), scales_.data(),
           call.in[kQgemmWScale].as<const float>(), epilogue);
  }

 private:
  QgemmProblem p_;
  LtMatrix product_;
  DeviceBuffer<typename Codes::Code> codes_;
  DeviceBuffer<float> scales_;
  DeviceBuffer<typename Codes::Sum> sums_;
};

}  // namespace pareto
