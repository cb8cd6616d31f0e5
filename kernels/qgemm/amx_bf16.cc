// bf16 products with AMX, fp32 sums that flush subnormals.
//
// Idea: as amx_int8, with two bf16 per dword.
// Bottleneck: tile loads from L1 and L2.
// Layout: tile_amx.h. Measured once, on a Xeon with other work beside and while every
// tile configured the unit for itself, with blocks of K twice as long: 33 % of the ceiling at
// 2048^3. What stands here is checked on the software twin of the tiles; it has not been measured.
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
