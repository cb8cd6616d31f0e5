// Baseline: CSR by cuSPARSE's SpMM, the fastest of its algorithms for column-major operands.
//
// The library wants offsets of the type of the columns: they are narrowed to 32 bits in `prepare`.
// Layout: device pointers, values and columns as given; offsets s32 [N+1], the library's workspace.
// Not measured yet: no GPU was at hand.
#include <array>

#include "kernels/sparse/cusparse_product.cuh"
#include "kernels/sparse/narrow_offsets.cuh"

namespace pareto {
namespace {

class CusparseCsr : public Prepared {
 public:
  CusparseCsr(const SparseProblem& p, std::span<const Tensor> in)
      : offsets_(narrow_offsets(in[kSparseOffset])), product_(p, matrix(p, in), kAlgorithms) {}
  void run(const Call& call) override { product_.run(call); }

 private:
  static constexpr std::array kAlgorithms = {CUSPARSE_SPMM_ALG_DEFAULT, CUSPARSE_SPMM_CSR_ALG1,
                                             CUSPARSE_SPMM_CSR_ALG3};

  CusparseSparse matrix(const SparseProblem& p, std::span<const Tensor> in) const {
    cusparseSpMatDescr_t made = nullptr;
    check_cusparse(CusparseLibrary::get().create_csr(
                       &made, p.N, p.K, in[kSparseValues].elements(), offsets_.data(),
                       in[kSparseIndex].data, in[kSparseValues].data, CUSPARSE_INDEX_32I,
                       CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, cusparse_type(p.dtype)),
                   "cusparseCreateCsr");
    return CusparseSparse(made);
  }

  DeviceBuffer<std::int32_t> offsets_;
  CusparseProduct product_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CusparseCsr>(SparseProblem::from(problem), in);
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
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_fma_fp32",
}};
const NeedsCudaLibrary library("sparse/cusparse_csr", kCusparseSoname);

}  // namespace
}  // namespace pareto
