// The simplest qgemm on a GPU: one thread per element of y, operands read where they lie.
//
// Bottleneck: neighbouring threads read neighbouring rows of W, so that every load of W touches 32
// lines; nothing is shared but through the caches. The first step of the ladder: what every later
// variant is measured against.
// Layout: device pointers; workspace for the codes of x (w8a8): s8 [M,K], fp32 [M].
#include <memory>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/qgemm/element_products.cuh"
#include "kernels/qgemm/quantize_rows.cuh"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using Sizes = cuda::ElementSizes;

template <typename T>
__global__ void float_products(Sizes s, const T* x, const T* w, DeviceEpilogue epilogue) {
  const std::int64_t index = thread_index();
  if (index >= s.M * s.N) return;
  epilogue.store(index, index % s.N, cuda::float_element(s, index, x, w));
}

// int32 sums, then both scales.
__global__ void integer_products(Sizes s, const std::int8_t* x, const float* x_scale,
                                 const std::int8_t* w, const float* w_scale,
                                 DeviceEpilogue epilogue) {
  const std::int64_t index = thread_index();
  if (index >= s.M * s.N) return;
  const MatrixPlace place = matrix_place(index, s.N);
  const auto sum = static_cast<float>(cuda::integer_element(s, index, x, w));
  epilogue.store(index, place.column, sum * x_scale[place.row] * w_scale[place.column]);
}

template <typename T>
__global__ void nibble_products(Sizes s, std::int64_t group, const T* x, const std::uint8_t* w,
                                const __half* w_scale, DeviceEpilogue epilogue) {
  const std::int64_t index = thread_index();
  if (index >= s.M * s.N) return;
  epilogue.store(index, index % s.N, cuda::nibble_element(s, group, index, x, w, w_scale));
}

class CudaNaive : public Prepared {
 public:
  explicit CudaNaive(const Problem& problem)
      : p_(QgemmProblem::from(problem)), sizes_{p_.M, p_.N, p_.K} {
    if (p_.w_kind != WKind::kS8) return;
    codes_ = DeviceBuffer<std::int8_t>(p_.M * p_.K);
    scales_ = DeviceBuffer<float>(p_.M);
  }

  void run(const Call& call) override {
    const DeviceEpilogue epilogue{call.in[kQgemmBias].as<const float>(), p_.activation,
                                  p_.out_dtype, call.out[kQgemmY].data};
    if (p_.w_kind == WKind::kS8) {
      run_integers(call, epilogue);
      return;
    }
    with_device_type(p_.x_dtype, [&]<typename T>(T* /*type*/) {
      const T* x = call.in[kQgemmX].as<const T>();
      if (p_.w_kind == WKind::kFloat) {
        launch(float_products<T>, p_.M * p_.N, sizes_, x, call.in[kQgemmW].as<const T>(), epilogue);
      } else {
        launch(nibble_products<T>, p_.M * p_.N, sizes_, p_.w_group, x,
               call.in[kQgemmW].as<const std::uint8_t>(), call.in[kQgemmWScale].as<const __half>(),
               epilogue);
      }
    });
  }

 private:
  void run_integers(const Call& call, const DeviceEpilogue& epilogue) {
    start_quantize_rows<CodesS8>(p_.M, p_.K, call.in[kQgemmX].as<const float>(), codes_.data(),
                                 scales_.data());
    launch(integer_products, p_.M * p_.N, sizes_, codes_.data(), scales_.data(),
           call.in[kQgemmW].as<const std::int8_t>(), call.in[kQgemmWScale].as<const float>(),
           epilogue);
  }

  QgemmProblem p_;
  Sizes sizes_;
  DeviceBuffer<std::int8_t> codes_;
  DeviceBuffer<float> scales_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaNaive>(problem);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.integer_acc = p.w_kind == WKind::kS8;
  // Integer sums: conversion, two scales, bias.
  a.epilogue_roundings = (a.integer_acc ? 3 : 0) + (p.has_bias ? 1 : 0);
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "cuda_naive",
    .summary = "CUDA, one thread per element of y; int32 sums where the scheme has integers",
    .needs_cuda = 80,
    .limits = {{.key = "scheme", .values = {"fp32", "bf16", "fp16", "w8a8", "w4a16_g128"}},
               {.key = "operands", .values = {"float"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_fma_fp32",
}};

}  // namespace
}  // namespace pareto
