// Baseline: square blocks (BSR) by cuSPARSE's SpMM.
//
// The library wants offsets of the type of the columns: they are narrowed to 32 bits in `prepare`.
// Layout: device pointers, blocks and columns as given; offsets s32 [R+1], the library's workspace.
// Not measured yet: no GPU was at hand.
#include <array>

#include "kernels/sparse/cusparse_product.cuh"
#include "kernels/sparse/narrow_offsets.cuh"

namespace pareto {
namespace {

class CusparseBsr : public Prepared {
 public:
  CusparseBsr(const SparseProblem& p, std::span<const Tensor> in)
      : offsets_(narrow_offsets(in[kSparseOffset])), product_(p, matrix(p, in), kAlgorithms) {}
  void run(const Call& call) override { product_.run(call); }

 private:
  static constexpr std::array kAlgorithms = {CUSPARSE_SPMM_BSR_ALG1};

  CusparseSparse matrix(const SparseProblem& p, std::span<const Tensor> in) const {
    cusparseSpMatDescr_t made = nullptr;
    check_cusparse(CusparseLibrary::get().create_bsr(
                       &made, p.block_rows(), p.block_columns(), in[kSparseIndex].elements(),
                       p.block, p.block, offsets_.data(), in[kSparseIndex].data,
                       in[kSparseValues].data, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I,
                       CUSPARSE_INDEX_BASE_ZERO, cusparse_type(p.dtype), CUSPARSE_ORDER_ROW),
                   "cusparseCreateBsr");
    return CusparseSparse(made);
  }

  DeviceBuffer<std::int32_t> offsets_;
  CusparseProduct<CusparseSpmm> product_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CusparseBsr>(SparseProblem::from(problem), in);
}

std::string declines(const Problem& problem) {
  const SparseProblem p = SparseProblem::from(problem);
  if (p.N % p.block == 0 && p.K % p.block == 0) return "";
  return "N and K must be multiples of the block, " + std::to_string(p.block);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.deterministic = false;
  a.multiplies_pruned = true;  // the zeros inside a block
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "cusparse_bsr",
    .summary = "cuSPARSE SpMM on square blocks",
    .needs_cuda = 80,
    .limits = {{.key = "format", .values = {"bsr16", "bsr32", "bsr64", "bsr128"}},
               {.key = "bias", .values = {"none"}},
               {.key = "activation", .values = {"none"}}},
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_fma_fp32",
}};
const NeedsCudaLibrary library("sparse/cusparse_bsr", kCusparseSoname);

}  // namespace
}  // namespace pareto
