// Baseline: fp8 E4M3 with one scale per row by cuBLASLt, with promotion of its sums to fp32.
//
// x is quantized by a kernel of ours inside `run`; the library multiplies the codes, and another
// kernel applies the scales of both rows.
// Layout: device pointers, operands as given; workspace E4M3 [M,K], fp32 [M], fp32 [M,N].
// Not measured yet: no GPU was at hand.
#include "kernels/qgemm/cublaslt_product.cuh"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<LtCodes<CodesE4m3>>(
      QgemmProblem::from(problem),
      LtTypes{
          .x = CUDA_R_8F_E4M3, .w = CUDA_R_8F_E4M3, .y = CUDA_R_32F, .fast_accumulation = false});
}

// Hopper sums fp8 products in 13 bits and cuts off; the library promotes to fp32 every 128 of K.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.u_acc = 0x1p-13;
  a.acc_truncates = true;
  a.acc_bits = 13;
  a.acc_block = 128;
  a.epilogue_roundings = 3 + (QgemmProblem::from(problem).has_bias ? 1 : 0);
  return a;
}

// The library's fp8 kernels want rows of whole 16 bytes.
const Registration registration{{
    .op = "qgemm",
    .name = "cublaslt_fp8",
    .summary = "cuBLASLt, fp8 E4M3 tensor cores, sums promoted to fp32",
    .needs_cuda = 90,
    .limits = {{.key = "scheme", .values = {"fp8_e4m3"}},
               {.key = "operands", .values = {"float"}},
               {.key = "N", .multiple_of = 16},
               {.key = "K", .multiple_of = 16}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_tensor_fp8",
}};
const NeedsCudaLibrary library("qgemm/cublaslt_fp8", kCublasLtSoname);

}  // namespace
}  // namespace pareto
