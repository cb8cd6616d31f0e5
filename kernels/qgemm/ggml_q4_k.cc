// Baseline: ggml's product of fp32 activations with Q4_K weights.
//
// The library quantizes x to q8_k blocks of 256 by itself. Closest is the scheme q4_k_a8, but that
// has a scale per 32: against its codes the result is wrong by the coarser quantization of x, and
// fails the checks.
#include <memory>

#include "kernels/ggml_linear.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<GgmlLinear>(QgemmProblem::from(problem), in, GGML_TYPE_Q4_K);
}

const Registration registration{{
    .op = "qgemm",
    .name = "ggml_q4_k",
    .summary = "ggml Q4_K weights in the backend's own layout, x quantized by the library",
    .limits = ggml_limits("q4_k_a8", 256),
    .arithmetic = ggml_arithmetic,
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "vnni_int8",
    .library = GgmlGraph::name(),
}};

}  // namespace
}  // namespace pareto
