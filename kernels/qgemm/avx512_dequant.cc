// Every scheme with float products, in fp32 FMA with AVX-512: W is decoded block by block just
// ahead of the dense tile.
//
// Idea: one compressed panel layout for all weight formats, decoded by table look-up or through
// fp16 into a block that stays in L1 (few rows) or L2; x is widened or quantized to fp8 values.
// Bottleneck: FMA units at large M; decoding, about 4 instructions per 16 weights, at M ≤ 8.
// Layout: dequant_panels.h; x strips [K][≤ 12] fp32.
#include "kernels/qgemm/dequant_gemm_avx512.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<DequantQgemm<DequantTiles<false>>>(QgemmProblem::from(problem), in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  // fp8 in blocks: x times its scale is rounded, too.
  a.u_operand = kU32 * (dequant_roundings(p) + (p.x_kind == XKind::kFp8Group ? 1 : 0));
  a.epilogue_roundings = dequant_epilogue_roundings(p);
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_dequant",
    .summary = "any float scheme: W decoded to fp32 blocks ahead of 12x32 FMA tiles",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "q8_0", "q4_0", "q4_k",
                           "nf4_g64", "mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "nvfp4", "fp8_e4m3",
                           "fp8_e5m2", "fp8_e4m3_block128", "mxfp8"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
