// Baseline: fp8 E4M3 with one scale per row by cuBLASLt, sums promoted to fp32.
//
// Layout: device pointers, operands as given; workspace E4M3 [M,K], fp32 [M], fp32 [M,N].
#include "kernels/qgemm/cublaslt_fp8_product.cuh"

namespace pareto {
namespace {

const Registration registration{lt_fp8_variant<false>(
    "cublaslt_fp8", "cuBLASLt, fp8 E4M3 tensor cores, sums promoted to fp32")};
const NeedsCudaLibrary library("qgemm/cublaslt_fp8", kCublasLtSoname);

}  // namespace
}  // namespace pareto
