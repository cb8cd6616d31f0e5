// bf16 x (or x quantized to fp8) against compressed W in AMX: W is decoded to bf16 just ahead of
// the tiles.
//
// Idea: a chunk of a panel is decoded into L1 once and meets all strips of a block. Weights that
// bf16 holds are one operand (fp8, MX, NVFP4), all others two that add up to them within 2^-16:
// twice the products, still far more than any vector unit does.
// Bottleneck: tile loads from L1 and L2; decoding, below some 128 rows.
// Layout: W as dequant_panels.h, decoded as tile_amx.h.
#include "kernels/qgemm/amx_dequant.h"
#include "kernels/qgemm/bf16_x.h"

namespace pareto {
namespace {

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.epilogue_roundings = dequant_epilogue_roundings(p);
  a.flushes_subnormals = true;
  if (!exact_in_bf16(p)) {
    a.operand_products = 2;
    // 2^-16 is lost at most; equal codes of a group lose the same.
    a.u_operand = 0x1p-15;
  }
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "amx_bf16_dequant",
    .summary =
        "W decoded to bf16 chunks ahead of 2x2 AMX tiles, in two pieces where bf16 rounds it",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16 | Isa::kAmxBf16,
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "nf4_g64", "mxfp4",
                           "mxfp6_e2m3", "mxfp6_e3m2", "nvfp4", "fp8_e4m3", "fp8_e5m2", "mxfp8"}}},
    .declines = declines_but_bf16_x,
    .arithmetic = arithmetic,
    .prepare = prepare_amx_dequant<AmxNative>,
    .unit = "amx_bf16",
}};

}  // namespace
}  // namespace pareto
