// The simplest sparse layer on a GPU: one thread per element of y walks its row of W in CSR.
//
// Bottleneck: rows of W of different lengths in one warp, and scattered reads of x; neither values
// nor indices are shared between the rows of x. The first step of the ladder.
// Layout: device pointers, operands as given.
// The loop (csr_element.cuh) runs in the host emulator.
#include <memory>

#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/sparse/csr_element.cuh"
#include "reference/sparse.h"

namespace pareto {
namespace {

template <typename T>
__global__ void csr_products(std::int64_t M, cuda::CsrOperands<T> operands,
                             DeviceEpilogue epilogue) {
  const std::int64_t element = thread_index();
  if (element >= M * operands.N) return;
  epilogue.store(element, element % operands.N, cuda::csr_element(element, operands));
}

class CudaNaive : public Prepared {
 public:
  explicit CudaNaive(const Problem& problem) : p_(SparseProblem::from(problem)) {}

  void run(const Call& call) override {
    const DeviceEpilogue epilogue{call.in[kSparseBias].as<const float>(), p_.activation,
                                  p_.out_dtype, call.out[kSparseY].data};
    with_device_type(p_.dtype, [&]<typename T>(T* /*type*/) {
      const cuda::CsrOperands<T> operands{p_.N,
                                          p_.K,
                                          call.in[kSparseX].as<const T>(),
                                          call.in[kSparseValues].as<const T>(),
                                          call.in[kSparseIndex].as<const std::int32_t>(),
                                          call.in[kSparseOffset].as<const std::int64_t>()};
      launch(csr_products<T>, p_.M * p_.N, p_.M, operands, epilogue);
    });
  }

 private:
  SparseProblem p_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaNaive>(problem);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "cuda_naive",
    .summary = "CUDA, one thread per element of y walks its row of CSR",
    .needs_cuda = 80,
    .limits = {{.key = "format", .values = {"csr"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_fma_fp32",
}};

}  // namespace
}  // namespace pareto
