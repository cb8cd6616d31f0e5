// Baseline: CSR by cuSPARSE's SpMM, the fastest of its algorithms for column-major operands.
//
// Layout: device pointers, values and columns as given; offsets s32 [N+1], the library's workspace.
#include "kernels/sparse/cusparse_rows.cuh"

namespace pareto {
namespace {

constexpr std::array kAlgorithms = {CUSPARSE_SPMM_ALG_DEFAULT, CUSPARSE_SPMM_CSR_ALG1,
                                    CUSPARSE_SPMM_CSR_ALG3};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CusparseRows<CusparseSpmm>>(SparseProblem::from(problem), in,
                                                      kAlgorithms);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.deterministic = false;  // rows are split over blocks and added atomically
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "cusparse_csr",
    .summary = "cuSPARSE SpMM on CSR",
    .needs_cuda = 80,
    .limits = {{.key = "format", .values = {"csr"}},
               {.key = "bias", .values = {"none"}},
               {.key = "activation", .values = {"none"}}},
    .declines = refuses_types,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_fma_fp32",
}};
const NeedsCudaLibrary library("sparse/cusparse_csr", kCusparseSoname);

}  // namespace
}  // namespace pareto
