// Weight-only schemes as fp32 products with AVX2: W decoded to fp32 in `prepare`.
//
// Idea: as avx512_decoded, the uncompressed end of the trade that avx2_dequant makes.
// Bottleneck: FMA units; at M ≤ 4 reading W, 4 bytes per weight.
// Layout: f32_gemm_avx2.h, W [panel][K][16] fp32.
#include "harness/variant.h"
#include "kernels/qgemm/decoded_w.h"
#include "kernels/qgemm/f32_gemm_avx2.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  AlignedBuffer<float> w = decoded_w(p, in, pool);
  const Tensor view{DType::kF32, Shape{p.N, p.K}, reinterpret_cast<std::byte*>(w.data())};
  return std::make_unique<F32Qgemm<F32Avx2>>(p, view, in[kQgemmBias], pool);
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
    .name = "avx2_decoded",
    .summary = "weight-only schemes, W decoded to fp32 ahead of time, then 6x16 FMA tiles",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "q8_0", "q4_0", "q4_k",
                           "nf4_g64", "mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "nvfp4"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
