// A correct attention kernel in miniature: fp32 online softmax over blocks of keys, with P rounded
// to bf16 on request. Written for the tests of the bound.
#pragma once

#include "reference/attention_rows.h"

namespace pareto {

struct EmulatedKernel {
  std::int64_t block = 32;
  bool bf16_p = false;
  bool bf16_accumulator = false;  ///< a wrong kernel: O kept in bf16

  /// What the kernel declares.
  [[nodiscard]] Arithmetic arithmetic() const {
    Arithmetic a;
    a.kv_block = block;
    // expf and tanhf of the C library are good to an ulp.
    a.u_exp = 0x1p-23;
    a.u_tanh = 0x1p-22;
    if (bf16_p) a.u_p = kUBf16;
    a.sums_rounded_p = bf16_p;
    return a;
  }
  [[nodiscard]] Outputs run(const Problem& problem, const Operands& operands) const;

 private:
  void run_query(const AttentionOperands& all, const AttentionQuery& query, const Tensor& o,
                 const Tensor& lse) const;
};

}  // namespace pareto
