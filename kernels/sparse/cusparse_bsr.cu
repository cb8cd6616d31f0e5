// Baseline: square blocks (BSR) by cuSPARSE's SpMM.
//
// The library wants offsets of the type of the columns: they are narrowed to 32 bits in `prepare`.
// Layout: device pointers, blocks and columns as given; offsets s32 [R+1], the library's workspace.
#include "kernels/sparse/cusparse_rows.cuh"

namespace pareto {
namespace {

constexpr std::array kAlgorithms = {CUSPARSE_SPMM_BSR_ALG1};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CusparseRows<CusparseSpmm>>(SparseProblem::from(problem), in,
                                                      kAlgorithms);
}

const Registration registration{{
    .op = "sparse",
    .name = "cusparse_bsr",
    .summary = "cuSPARSE SpMM on square blocks",
    .needs_cuda = 80,
    .limits = {{.key = "format", .values = {"bsr16", "bsr32", "bsr64", "bsr128"}},
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
const NeedsCudaLibrary library("sparse/cusparse_bsr", kCusparseSoname);

}  // namespace
}  // namespace pareto
