// bf16 W of format csr, bitmap, 2to4 or bsr with AMX; fp32 sums that flush subnormals.
//
// Idea: 2 × 2 tiles of 32 tokens × 32 rows of W. Bitmaps (csr and 2to4 as such) are expanded by
// vpexpandw into a chunk in L1 while the tiles multiply the chunk before; blocks are stored as
// tiles read them. Zeros are multiplied.
// Bottleneck: expansion up to about 48 tokens, then tile products; reading W when there are few
// tokens.
// Layout: pair_bitmap.h, step_panels.h.
#include "kernels/sparse/amx_bf16.h"

#include "kernels/sparse/multiplies_zeros.h"

namespace pareto {
namespace {

const Registration registration{{
    .op = "sparse",
    .name = "amx_bf16",
    .summary = "2x2 AMX tiles; bitmaps expanded by vpexpandw ahead of them",
    .needs = kSparseAmxNeeds,
    .limits = {{.key = "format",
                .values = {"csr", "bitmap", "2to4", "bsr16", "bsr32", "bsr64", "bsr128"}},
               {.key = "dtype", .values = {"bf16"}}},
    .arithmetic = multiplies_zeros_in_pairs,
    .prepare = prepare_sparse_amx_bf16<AmxNative>,
    .unit = "amx_bf16",
}};

}  // namespace
}  // namespace pareto
