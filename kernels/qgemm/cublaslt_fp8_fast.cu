// Baseline: fp8 E4M3 with one scale per row by cuBLASLt, without promotion of its sums to fp32.
//
// Layout: device pointers, operands as given; workspace E4M3 [M,K], fp32 [M], fp32 [M,N].
#include "kernels/qgemm/cublaslt_fp8_product.cuh"

namespace pareto {
namespace {

const Registration registration{lt_fp8_variant<true>(
    "cublaslt_fp8_fast", "cuBLASLt, fp8 E4M3 tensor cores, fast accumulation")};
const NeedsCudaLibrary library("qgemm/cublaslt_fp8_fast", kCublasLtSoname);

}  // namespace
}  // namespace pareto
