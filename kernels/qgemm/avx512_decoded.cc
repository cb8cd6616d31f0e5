// Weight-only schemes as fp32 products with AVX-512: W decoded to fp32 in `prepare`.
//
// Idea: where the layer is small and stays in cache, W in fp32 costs only memory, and every token
// saves the decoding. The uncompressed end of the trade that avx512_dequant and avx512_codes make.
// Bottleneck: FMA units; at M ≤ 8 reading W, 4 bytes per weight.
// Layout: f32_gemm.h, W [panel][K][32] fp32.
#include "harness/variant.h"
#include "kernels/qgemm/decoded_w.h"
#include "kernels/qgemm/f32_gemm_avx512.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  AlignedBuffer<float> w = decoded_w(p, in, pool);
  const Tensor view{DType::kF32, Shape{p.N, p.K}, reinterpret_cast<std::byte*>(w.data())};
  return std::make_unique<F32Qgemm<F32Avx512>>(p, view, in[kQgemmBias], pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.u_operand = decoding_rounds(p.w_kind) ? kU32 : 0;
  a.epilogue_roundings = p.has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_decoded",
    .summary = "weight-only schemes, W decoded to fp32 ahead of time, then 12x32 FMA tiles",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "q8_0", "q4_0", "q4_k",
                           "nf4_g64", "mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "nvfp4"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
