// W in compressed rows, of elements or of square blocks, for the cuSPARSE baselines.
#pragma once

#include <array>
#include <string>

#include "kernels/sparse/cusparse_product.cuh"
#include "kernels/sparse/narrow_offsets.cuh"

namespace pareto {

/// One of the library's products with W in CSR or BSR. The library wants offsets of the type of the
/// columns: they are narrowed to 32 bits here.
template <typename Form>
class CusparseRows : public Prepared {
 public:
  /// `in` holds values, columns and offsets on the device; it stays the caller's. CannotRunError
  /// where the library refuses types or sizes.
  CusparseRows(const SparseProblem& p, std::span<const Tensor> in,
               std::span<const typename Form::Algorithm> algorithms)
      : offsets_(narrow_offsets(in[kSparseOffset])),
        product_(p, p.format == SparseFormat::kCsr ? elements(p, in) : blocks(p, in), algorithms) {}
  void run(const Call& call) override { product_.run(call); }

 private:
  CusparseSparse elements(const SparseProblem& p, std::span<const Tensor> in) const {
    cusparseSpMatDescr_t made = nullptr;
    check_cusparse(CusparseLibrary::get().create_csr(
                       &made, p.N, p.K, in[kSparseValues].elements(), offsets_.data(),
                       in[kSparseIndex].data, in[kSparseValues].data, CUSPARSE_INDEX_32I,
                       CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, cusparse_type(p.dtype)),
                   "cusparseCreateCsr");
    return CusparseSparse(made);
  }
  CusparseSparse blocks(const SparseProblem& p, std::span<const Tensor> in) const {
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
  CusparseProduct<Form> product_;
};

/// Why the library does not take the types of this problem; "" if it does: sums come in fp32 or in
/// the 16-bit type of x.
inline std::string refuses_types(const Problem& problem) {
  const SparseProblem p = SparseProblem::from(problem);
  if (p.out_dtype == DType::kF32 || p.out_dtype == p.dtype) return "";
  return "out_dtype " + std::string(name_of(p.out_dtype)) + ": the library gives fp32 or that of x";
}

/// The same for blocks: the library's matrix ends with a whole block.
inline std::string refuses_blocks(const Problem& problem) {
  const SparseProblem p = SparseProblem::from(problem);
  if (p.N % p.block == 0 && p.K % p.block == 0) return refuses_types(problem);
  return "N " + std::to_string(p.N) + ", K " + std::to_string(p.K) + ": whole blocks of " +
         std::to_string(p.block) + " only";
}

/// As the library multiplies blocks: perhaps on tensor cores, which cut off.
inline Arithmetic block_arithmetic(const Problem& problem) {
  Arithmetic a;
  if (SparseProblem::from(problem).dtype != DType::kF32) {
    a.u_acc = 0x1p-23;
    a.acc_truncates = true;
  }
  a.deterministic = false;
  a.multiplies_pruned = true;  // the zeros inside a block
  return a;
}

}  // namespace pareto
