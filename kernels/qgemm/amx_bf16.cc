// bf16 products with AMX, fp32 sums that flush subnormals.
//
// Idea: as amx_int8, with two bf16 per dword.
// Bottleneck: L2, which gives x to the tiles and takes W from L3. One core of a Xeon with other
// work beside: 2048^3 1336 GFLOP/s, 57 % of the ceiling, 2.1 times oneDNN; 512x4096x4096 1275.
// Layout: amx_gemm.h, tile_amx.h.
#include "kernels/qgemm/amx_bf16.h"

namespace pareto {
namespace {

const Registration registration{{
    .op = "qgemm",
    .name = "amx_bf16",
    .summary = "2x2 AMX tiles of bf16, both operands pre-tiled",
    .needs = Isa::kAvx512 | Isa::kAmxBf16,
    .limits = {{.key = "scheme", .values = {"bf16"}}},
    .arithmetic = bf16_arithmetic,
    .prepare = prepare_amx_bf16<AmxNative>,
    .unit = "amx_bf16",
}};

}  // namespace
}  // namespace pareto
