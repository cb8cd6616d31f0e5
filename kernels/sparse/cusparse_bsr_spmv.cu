// Baseline: square blocks (BSR) times one row of x by cuSPARSE's SpMV.
//
// The library wants offsets of the type of the columns: they are narrowed to 32 bits in `prepare`.
// Layout: device pointers, blocks and columns as given; offsets s32 [R+1], the library's workspace.
#include "kernels/sparse/cusparse_rows.cuh"

namespace pareto {
namespace {

constexpr std::array kAlgorithms = {CUSPARSE_SPMV_ALG_DEFAULT, CUSPARSE_SPMV_BSR_ALG1};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CusparseRows<CusparseSpmv>>(SparseProblem::from(problem), in,
                                                      kAlgorithms);
}

const Registration registration{{
    .op = "sparse",
    .name = "cusparse_bsr_spmv",
    .summary = "cuSPARSE SpMV on square blocks, one row of x",
    .needs_cuda = 80,
    .limits = {{.key = "format", .values = {"bsr16", "bsr32", "bsr64", "bsr128"}},
               {.key = "M", .max = 1},
               {.key = "N", .multiple_of = 16},  // and of the block: declines
               {.key = "K", .multiple_of = 16},
               {.key = "bias", .values = {"none"}},
               {.key = "activation", .values = {"none"}}},
    .declines = refuses_blocks,
    .arithmetic = block_arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_fma_fp32",
}};
const NeedsCudaLibrary library("sparse/cusparse_bsr_spmv", kCusparseSoname);

}  // namespace
}  // namespace pareto
