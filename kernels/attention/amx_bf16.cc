// Prefill with bf16 products in AMX: operands in bf16, E4M3 and int8, whose codes bf16 holds
// exactly; P is rounded to bf16, sums are fp32 and flush subnormals.
//
// Idea: prefill_attention.h with tile_pipeline.h: tile products of some rows are issued between the
// exponentials of others, so that both units work at once; scores and weights pass through L1
// between them, o through L2.
// Bottleneck: at head_dim 128 the latency of tile loads, which hides behind two or three steps at
// most; at smaller head_dim the exponentials.
// Layout: as avx512_bf16, d padded to multiples of 32. One core of a Xeon with other work beside,
// 4096 keys, head_dim 128: 832 GFLOP/s, 36 % of the AMX ceiling.
#include "kernels/attention/amx_bf16.h"

#include "kernels/attention/bf16_products.h"

namespace pareto {
namespace {

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (p.decode()) return "decode is bound by reading K and V, not by products";
  return inexact_in_bf16(p);
}

const Registration registration{{
    .op = "attention",
    .name = "amx_bf16",
    .summary = "32x64 AMX tiles, online softmax, P in bf16; prefill",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16 | Isa::kAmxBf16,
    .declines = declines,
    .arithmetic = bf16_attention_arithmetic,
    .prepare = prepare_attention_amx_bf16<AmxNative>,
    .unit = "amx_bf16",
}};

}  // namespace
}  // namespace pareto
