// Baseline: fp32 products by cuBLASLt, without TF32.
// Layout: device pointers, operands as given; the fastest of the algorithms that the library
// proposes, chosen in `prepare`.
#include "kernels/qgemm/cublaslt_product.cuh"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<LtFloats>(QgemmProblem::from(problem));
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "cublaslt_fp32",
    .summary = "cuBLASLt, fp32 operands, fp32 accumulation",
    .needs_cuda = 80,
    .limits = {{.key = "scheme", .values = {"fp32"}}, {.key = "operands", .values = {"float"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_fma_fp32",
}};
const NeedsCudaLibrary library("qgemm/cublaslt_fp32", kCublasLtSoname);

}  // namespace
}  // namespace pareto
