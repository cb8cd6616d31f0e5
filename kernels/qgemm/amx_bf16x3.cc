// fp32 and fp16 with AMX: two bf16 pieces per operand, three products.
//
// Idea: amx_bf16_pieces.h. fp16 loses 2^-16 of a product at most, fp32 three times that: between
// fp16 and fp32 in accuracy.
// Bottleneck: as amx_bf16, with three times its products; their ceiling is a third of AMX's.
// Layout: that of amx_bf16, for three times the K. 6 bytes per weight.
#include "kernels/qgemm/amx_bf16_pieces.h"

namespace pareto {
namespace {

const Registration registration{{
    .op = "qgemm",
    .name = "amx_bf16x3",
    .summary = "AMX tiles; operands in two pieces of bf16, three products of them",
    .needs = Isa::kAvx512 | Isa::kAmxBf16,
    .limits = {{.key = "scheme", .values = {"fp32", "fp16"}}},
    .arithmetic = pieces_arithmetic<3>,
    .prepare = prepare_amx_pieces<AmxNative, 3>,
    .unit = "amx_bf16",
}};

}  // namespace
}  // namespace pareto
