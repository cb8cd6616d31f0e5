// Zeros in x, dense W, with AVX2: only the rows of Wᵀ that meet a nonzero of x are read.
//
// Idea: the nonzeros of each token are listed, then eight listed rows of Wᵀ at a time are added to
// y, the next eight on their way from memory (skip_x.h). Bottleneck: reading W when there are few
// tokens (less of it, the more zeros there are); one load of W per FMA otherwise.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx2.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/skip_x.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")
#include "kernels/sparse/skip_x_tiles.h"
#pragma GCC pop_options

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<SkipXSparse>(SparseProblem::from(problem), in, skip_isa<SparseAvx2>(),
                                       pool.size());
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "avx2_skip_x",
    .summary = "lists the nonzeros of x and reads only their rows of transposed W",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "format", .values = {"skip_x"}}, {.key = "K", .max = kSkipMostK}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
