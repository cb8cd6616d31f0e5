// Baseline: ggml's product of fp32 activations with Q4_0 weights.
//
// The library quantizes x to q8_0 blocks of 32 by itself: the scheme is q4_0_a8, but for the scales
// of x, which it keeps in fp16.
#include <memory>

#include "kernels/ggml_linear.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<GgmlLinear>(QgemmProblem::from(problem), in, GGML_TYPE_Q4_0);
}

const Registration registration{{
    .op = "qgemm",
    .name = "ggml_q4_0",
    .summary = "ggml Q4_0 weights in the backend's own layout, x quantized by the library",
    .limits = ggml_limits("q4_0_a8", 32),
    .arithmetic = ggml_arithmetic,
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "vnni_int8",
    .library = GgmlGraph::name(),
}};

}  // namespace
}  // namespace pareto
