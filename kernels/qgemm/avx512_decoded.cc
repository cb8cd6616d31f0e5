// Weight-only schemes as fp32 products with AVX-512: W decoded to fp32 in `prepare`.
//
// Idea: where the layer is small and stays in cache, W in fp32 costs only memory, and every token
// saves the decoding. The uncompressed end of the trade that avx512_dequant and avx512_codes make.
// Bottleneck: FMA units; at M ≤ 8 reading W, 4 bytes per weight.
// Layout: f32_gemm.h, W [panel][K][32] fp32.
#include "harness/variant.h"
#include "kernels/qgemm/decoded_gemm.h"
#include "kernels/qgemm/f32_gemm_avx512.h"

namespace pareto {
namespace {

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_decoded",
    .summary = "weight-only schemes, W decoded to fp32 ahead of time, then 12x32 FMA tiles",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {decoded_schemes<F32Avx512>()},
    .arithmetic = decoded_arithmetic,
    .prepare = prepare_decoded<F32Avx512>,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
