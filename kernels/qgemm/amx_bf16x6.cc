// fp32 with AMX: three bf16 pieces per operand, six products.
//
// Idea: amx_bf16_pieces.h. What is left out is about one rounding to fp32 per product.
// Bottleneck: as amx_bf16, with six times its products; their ceiling is a sixth of AMX's, which is
// still about three times that of fp32 FMA on Sapphire Rapids.
// Layout: that of amx_bf16, for six times the K. 12 bytes per weight.
#include "kernels/qgemm/amx_bf16_pieces.h"

namespace pareto {
namespace {

const Registration registration{{
    .op = "qgemm",
    .name = "amx_bf16x6",
    .summary = "AMX tiles; operands in three pieces of bf16, six products of them",
    .needs = Isa::kAvx512 | Isa::kAmxBf16,
    .limits = {{.key = "scheme", .values = {"fp32"}}},
    .arithmetic = pieces_arithmetic<6>,
    .prepare = prepare_amx_pieces<AmxNative, 6>,
    .unit = "amx_bf16",
}};

}  // namespace
}  // namespace pareto
