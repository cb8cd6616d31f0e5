// Unstructured W for few tokens with AVX2: SELL-C-σ, lanes over rows of W, x gathered.
//
// Idea: every nonzero is read once, as 4 bytes of value and 2 of column, and none is padding but
// the ends of slices (sell_slices.h). x is loaded element by element, for gathers are slower.
// Bottleneck: instructions, about 0.7 cycles per nonzero; from DRAM, or with more cores, memory.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/lanes_avx2.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/sell.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,popcnt")
#include "kernels/sparse/sell_tiles.h"
#pragma GCC pop_options

namespace pareto {
namespace {

// Beyond, a panel of x in lanes over tokens reads W less often: see avx2_sliced.
constexpr std::int64_t kMostTokens = 8;

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<SellSparse>(SparseProblem::from(problem), in, sell_isa<SparseAvx2>(),
                                      pool.size());
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "avx2_sell",
    .summary = "SELL-C-σ sorted over a thread's rows, long rows cut; x gathered",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "format", .values = {"csr", "sell"}}, {.key = "M", .max = kMostTokens}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
