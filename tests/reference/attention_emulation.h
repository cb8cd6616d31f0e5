// A correct attention kernel in miniature: fp32 online softmax over blocks of keys, with P rounded
// to 16 bits on request. Written for the tests of the bound and of accuracy.
#pragma once

#include "reference/attention_rows.h"

namespace pareto {

struct EmulatedKernel {
  std::int64_t block = 32;
  DType p_dtype = DType::kF32;    ///< what P is rounded to: kF32 kBf16 kF16
  bool bf16_accumulator = false;  ///< a wrong kernel: O kept in bf16

  /// What the kernel declares.
  [[nodiscard]] Arithmetic arithmetic() const {
    Arithmetic a;
    a.kv_block = block;
    // expf and tanhf of the C library are good to an ulp.
    a.u_exp = 0x1p-23;
    a.u_tanh = 0x1p-22;
    if (p_dtype == DType::kBf16) a.u_p = kUBf16;
    if (p_dtype == DType::kF16) a.u_p = kUFp16;
    a.sums_rounded_p = p_dtype != DType::kF32;
    return a;
  }
  [[nodiscard]] Outputs run(const Problem& problem, const Operands& operands) const;

 private:
  void run_query(const AttentionOperands& all, const AttentionQuery& query, const Tensor& o,
                 const Tensor& lse) const;
};

}  // namespace pareto
