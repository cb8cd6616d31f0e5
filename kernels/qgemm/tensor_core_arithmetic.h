// What qgemm on a GPU's tensor cores in 16 bits declares, by kernels of ours and cuBLASLt alike.
#pragma once

#include "harness/variant.h"
#include "reference/qgemm.h"

namespace pareto {

/// Tensor cores sum the 16 products of one step and the accumulator at once, and cut off.
inline Arithmetic tensor_core_arithmetic(const Problem& problem) {
  Arithmetic a;
  a.u_acc = 0x1p-23;
  a.acc_truncates = true;
  a.acc_block = 16;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

}  // namespace pareto
