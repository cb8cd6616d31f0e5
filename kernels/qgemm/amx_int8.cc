// int8 products with AMX, one scale per row of x and of W: the w8a8 family and integer operands.
//
// Idea: 2 × 2 tiles of 16 × 16 sums; both operands lie as the tile loads read them; scales wait for
// the epilogue. Quantization and epilogue are those of avx512_vnni.
// Bottleneck: L2, which gives x to the tiles and takes W from L3; with few columns the quantization
// of x, whose instructions come to the time of the products of some 400.
// Layout: amx_gemm.h, tile_amx.h. One core of a Xeon with other work beside: 2048^3 2143 GOP/s, 46
// to 55 % of a ceiling that swung with its neighbours, 2.0 times oneDNN; 512x4096x4096 2510.
#include "kernels/qgemm/amx_int8.h"

namespace pareto {
namespace {

const Registration registration{{
    .op = "qgemm",
    .name = "amx_int8",
    .summary = "2x2 AMX tiles of s8, both operands pre-tiled; exact int32",
    .needs = Isa::kAvx512 | Isa::kAmxInt8,
    .limits = {{.key = "scheme", .values = {"w8a8", "w8a8_tensor", "w8a8_static", "w8a8_asym"}}},
    .arithmetic = int8_arithmetic,
    .prepare = prepare_amx_int8<AmxNative>,
    .unit = "amx_int8",
}};

}  // namespace
}  // namespace pareto
