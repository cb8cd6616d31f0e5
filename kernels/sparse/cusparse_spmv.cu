// Baseline: CSR times one row of x by cuSPARSE's SpMV, the fastest of its algorithms for CSR.
//
// Layout: device pointers, values and columns as given; offsets s32 [N+1], the library's workspace.
#include "kernels/sparse/cusparse_rows.cuh"

namespace pareto {
namespace {

constexpr std::array kAlgorithms = {CUSPARSE_SPMV_ALG_DEFAULT, CUSPARSE_SPMV_CSR_ALG1,
                                    CUSPARSE_SPMV_CSR_ALG2};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CusparseRows<CusparseSpmv>>(SparseProblem::from(problem), in,
                                                      kAlgorithms);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.deterministic = false;  // rows are split over blocks and added atomically
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "cusparse_spmv",
    .summary = "cuSPARSE SpMV on CSR, one row of x",
    .needs_cuda = 80,
    .limits = {{.key = "format", .values = {"csr"}},
               {.key = "M", .max = 1},
               {.key = "bias", .values = {"none"}},
               {.key = "activation", .values = {"none"}}},
    .declines = refuses_types,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_fma_fp32",
}};
const NeedsCudaLibrary library("sparse/cusparse_spmv", kCusparseSoname);

}  // namespace
}  // namespace pareto
