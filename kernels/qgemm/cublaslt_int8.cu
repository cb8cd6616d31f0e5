// Baseline: w8a8 on the integer tensor cores by cuBLASLt, exact int32 sums.
//
// x is quantized by a kernel of ours inside `run`, and another one applies the scales: the library
// has no epilogue for int32 sums.
// Layout: device pointers, operands as given; workspace s8 [M,K], fp32 [M], s32 [M,N].
#include "kernels/qgemm/cublaslt_product.cuh"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<LtCodes<CodesS8>>(
      QgemmProblem::from(problem),
      LtTypes{.x = CUDA_R_8I, .w = CUDA_R_8I, .y = CUDA_R_32I, .compute = CUBLAS_COMPUTE_32I});
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.integer_acc = true;
  // Conversion, two scales, bias.
  a.epilogue_roundings = 3 + (QgemmProblem::from(problem).has_bias ? 1 : 0);
  return a;
}

// The library's integer kernels want rows of whole 16 bytes.
const Registration registration{{
    .op = "qgemm",
    .name = "cublaslt_int8",
    .summary = "cuBLASLt, int8 tensor cores; x quantized and sums scaled by kernels of ours",
    .needs_cuda = 80,
    .limits = {{.key = "scheme", .values = {"w8a8"}},
               {.key = "operands", .values = {"float"}},
               {.key = "N", .multiple_of = 16},
               {.key = "K", .multiple_of = 16}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_tensor_int8",
}};
const NeedsCudaLibrary library("qgemm/cublaslt_int8", kCublasLtSoname);

}  // namespace
}  // namespace pareto
