// Baseline: bf16 products by cuBLASLt.
// Layout: device pointers, operands as given; the fastest of the algorithms that the library
// proposes, chosen in `prepare`.
#include "kernels/qgemm/cublaslt_product.cuh"
#include "kernels/qgemm/tensor_core_arithmetic.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<LtFloats>(QgemmProblem::from(problem));
}

const Registration registration{{
    .op = "qgemm",
    .name = "cublaslt_bf16",
    .summary = "cuBLASLt, bf16 operands, fp32 accumulation",
    .needs_cuda = 80,
    .limits = {{.key = "scheme", .values = {"bf16"}}, {.key = "operands", .values = {"float"}}},
    .arithmetic = tensor_core_arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_tensor_bf16",
}};
const NeedsCudaLibrary library("qgemm/cublaslt_bf16", kCublasLtSoname);

}  // namespace
}  // namespace pareto
