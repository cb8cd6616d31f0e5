// The arithmetic of kernels that multiply what is pruned like everything else.
#pragma once

#include "harness/variant.h"
#include "reference/sparse.h"

namespace pareto {

/// fp32 sums of products over all of a row's columns, or of its stored blocks.
inline Arithmetic multiplies_zeros(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  a.multiplies_pruned = true;
  return a;
}

/// The same from dot products of bf16 pairs, on AVX-512 or AMX. One chain per element is an upper
/// limit: pairs and tiles shorten it.
inline Arithmetic multiplies_zeros_in_pairs(const Problem& problem) {
  Arithmetic a = multiplies_zeros(problem);
  a.flushes_subnormals = true;
  return a;
}

}  // namespace pareto
