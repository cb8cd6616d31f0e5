// Not sparse: W written out densely ahead of time, for the tiles that blocks use, too. What a
// sparse format of ours has to beat where there is AMX.
//
// Idea: 2 × 2 tiles of 32 tokens × 32 rows of W (amx_steps.h).
// Bottleneck: tile products; reading W when there are few tokens. One core of a Xeon with other
// work beside, 512x4096x4096: 18.6 ms, 922 GFLOP/s.
#include "kernels/sparse/amx_bf16.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/written_out.h"

namespace pareto {
namespace {

const Registration registration{{
    .op = "sparse",
    .name = "amx_dense_bf16",
    .summary = "not sparse: W written out densely ahead of time, then 2x2 AMX tiles",
    .needs = kSparseAmxNeeds,
    .limits = {written_out_formats(), {.key = "dtype", .values = {"bf16"}}},
    .arithmetic = multiplies_zeros_in_pairs,
    .prepare = prepare_sparse_amx_dense_bf16<AmxNative>,
    .unit = "amx_bf16",
}};

}  // namespace
}  // namespace pareto
