// What the rogues on a GPU share: an honest kernel to hide behind, and a one-line registration.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "harness/registry.h"
#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "reference/qgemm.h"

namespace pareto::rogue {

/// y[M,N] = x[M,K] · w[N,K]ᵀ in fp32, one thread per element; the first `skip` elements are left.
static __global__ void multiply_on_device(const float* x, const float* w, float* y, std::int64_t M,
                                          std::int64_t N, std::int64_t K, std::int64_t skip) {
  const std::int64_t index = thread_index();
  if (index >= M * N || index < skip) return;
  float sum = 0;
  for (std::int64_t k = 0; k < K; ++k) {
    sum = fmaf(x[index / N * K + k], w[index % N * K + k], sum);
  }
  y[index] = sum;
}

/// A prepared fp32 GEMM on the device.
class CudaBase : public Prepared {
 public:
  explicit CudaBase(const Problem& problem) : p_(QgemmProblem::from(problem)) {}

 protected:
  [[nodiscard]] std::int64_t elements() const { return p_.M * p_.N; }
  [[nodiscard]] dim3 grid() const {
    return dim3(static_cast<unsigned>(ceil_div(elements(), kDefaultBlockThreads)));
  }
  /// Starts the honest kernel on `stream`.
  void compute(const Call& call, cudaStream_t stream, float* y, std::int64_t skip = 0) const {
    if (elements() == 0) return;
    multiply_on_device<<<grid(), kDefaultBlockThreads, 0, stream>>>(
        call.in[kQgemmX].as<const float>(), call.in[kQgemmW].as<const float>(), y, p_.M, p_.N, p_.K,
        skip);
    check_cuda(cudaGetLastError(), "kernel launch");
  }

  QgemmProblem p_;
};

/// Variant "qgemm/rogue_cuda_<name>" of the plainest problem: fp32, no bias, no activation.
template <typename Rogue>
Variant cuda_variant(const char* name, const char* summary) {
  Variant rogue;
  rogue.op = "qgemm";
  rogue.name = std::string("rogue_cuda_") + name;
  rogue.summary = summary;
  rogue.needs_cuda = 80;
  rogue.keeps_operands = true;
  const std::pair<const char*, const char*> plain[] = {{"scheme", "fp32"},
                                                       {"activation", "none"},
                                                       {"out_dtype", "fp32"},
                                                       {"bias", "none"},
                                                       {"operands", "float"}};
  for (const auto& [key, word] : plain) {
    Limit limit;
    limit.key = key;
    limit.values = {word};
    rogue.limits.push_back(limit);
  }
  rogue.prepare = [](const Problem& problem, std::span<const Tensor> /*in*/,
                     ThreadPool& /*pool*/) -> std::unique_ptr<Prepared> {
    return std::make_unique<Rogue>(problem);
  };
  return rogue;
}

}  // namespace pareto::rogue
