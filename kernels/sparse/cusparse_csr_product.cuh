// W in CSR for the cuSPARSE baselines.
#pragma once

#include <array>

#include "kernels/sparse/cusparse_product.cuh"
#include "kernels/sparse/narrow_offsets.cuh"

namespace pareto {

/// One of the library's products with W in CSR. The library wants offsets of the type of the
/// columns: they are narrowed to 32 bits here.
template <typename Form>
class CusparseCsrProduct : public Prepared {
 public:
  /// `in` holds values, columns and offsets on the device; it stays the caller's. CannotRunError
  /// where the library refuses types or sizes.
  CusparseCsrProduct(const SparseProblem& p, std::span<const Tensor> in,
                     std::span<const typename Form::Algorithm> algorithms)
      : offsets_(narrow_offsets(in[kSparseOffset])), product_(p, matrix(p, in), algorithms) {}
  void run(const Call& call) override { product_.run(call); }

 private:
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
  CusparseProduct<Form> product_;
};

}  // namespace pareto
