// Weight-only schemes, fp8 and groups of int8 as fp32 products with AVX2: W decoded to fp32 in
// `prepare`.
//
// Idea: as avx512_decoded, the uncompressed end of the trade that avx2_dequant makes.
// Bottleneck: FMA units; at M ≤ 4 reading W, 4 bytes per weight.
// Layout: f32_gemm_avx2.h, W [panel][K][16] fp32.
#include "harness/variant.h"
#include "kernels/qgemm/decoded_gemm.h"
#include "kernels/qgemm/f32_gemm_avx2.h"

namespace pareto {
namespace {

const Registration registration{{
    .op = "qgemm",
    .name = "avx2_decoded",
    .summary = "weight-only, fp8, group-wise schemes, W decoded to fp32 ahead of time; 6x16 FMA "
               "tiles",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {decoded_schemes<F32Avx2>()},
    .arithmetic = decoded_arithmetic,
    .prepare = prepare_decoded<F32Avx2>,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
