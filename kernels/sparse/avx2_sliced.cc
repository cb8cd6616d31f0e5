// Unstructured W with AVX2: sliced ELL per block of columns, lanes over tokens.
//
// Idea: a nonzero is broadcast and multiplied with a row of x's panel that stays in L1; rows of
// equal length are multiplied side by side (sliced_rows.h, sliced_tiles.h). Bottleneck: one load of
// x per FMA. W is read as 8 bytes per nonzero, whatever its dtype.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx2.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/sliced.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")
#include "kernels/sparse/sliced_tiles.h"
#pragma GCC pop_options

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<SlicedSparse>(SparseProblem::from(problem), in, sliced_isa<SparseAvx2>(),
                                        pool.size());
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "avx2_sliced",
    .summary = "sliced ELL per block of columns; x in panels of tokens that stay in L1",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "format", .values = {"csr", "sell"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
