// Schemes whose x and W are exact in bf16 (fp8, MX, NVFP4), in vdpbf16ps: W is decoded to bf16
// block by block just ahead of the dense tile.
//
// Idea: as avx512_dequant, with pairs of bf16: twice the rate on Zen 5. Schemes whose products of
// code and scale bf16 would round are declined: equal codes of a group round alike, so that the
// errors add up where x is positive (RMS 1.5 to 3 times what independent roundings give).
// Bottleneck: dot units at large M, decoding at small M.
// Layout: dequant_panels.h; x strips [K/2][≤ 12][2] bf16.
#include "kernels/qgemm/bf16_x.h"
#include "kernels/qgemm/dequant_gemm_avx512.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<DequantQgemm<DequantTiles<true>>>(QgemmProblem::from(problem), in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.epilogue_roundings = dequant_epilogue_roundings(p);
  a.flushes_subnormals = true;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_bf16_dequant",
    .summary = "W decoded to bf16 blocks ahead of 12x32 vdpbf16ps tiles",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .limits = {{.key = "scheme",
                .values = {"mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "nvfp4", "fp8_e4m3", "fp8_e5m2",
                           "mxfp8"}}},
    .declines = declines_but_bf16_x,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
