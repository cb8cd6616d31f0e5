// 8- and 6-bit floats (fp8 per row and per block, MXFP8, MXFP6) in vdpbf16ps, codes decoded in
// registers or, with many rows, once ahead of the tile.
//
// Idea: all these values are exact in bf16, and two permutations of VBMI look up both bytes of 64
// of them. Scales of groups wait for the fp32 sum of the group, so that nothing is rounded but sums
// and scales; x is quantized to fp8 values, which bf16 holds too.
// Bottleneck: reading W at M ≤ 2, dot units from M = 8 on.
// Layout: coded_tile_avx512.h, scaled_tile_avx512.h.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/bf16_x.h"
#include "kernels/qgemm/coded_gemm_avx512.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using E4m3 = BytePairs<&kE4m3Bytes>;
using E5m2 = BytePairs<&kE5m2Bytes>;
using E2m3 = BytePairs<&kE2m3Bytes>;
using E3m2 = BytePairs<&kE3m2Bytes>;

// Tables and scales leave registers for 5 rows.
template <typename Codes>
using GroupOf32 = CodedFormat<Codes, 32, ScaleKind::kBf16, false, 5>;
template <typename Codes>
using Unscaled = CodedFormat<Codes, 32, ScaleKind::kNone, false, 8>;

CodedKernel kernel_of(const QgemmProblem& p) {
  switch (p.w_kind) {
    case WKind::kMxfp6E2m3:
      return unpacking_kernel<GroupOf32<E2m3>>();
    case WKind::kMxfp6E3m2:
      return unpacking_kernel<GroupOf32<E3m2>>();
    case WKind::kMxfp8:
      return unpacking_kernel<GroupOf32<E4m3>>();
    case WKind::kFp8Block:
      return unpacking_kernel<CodedFormat<E4m3, 128, ScaleKind::kPanel, true, 5>>();
    default:
      return p.fp8_dtype == DType::kE5m2 ? unpacking_kernel<Unscaled<E5m2>>()
                                         : unpacking_kernel<Unscaled<E4m3>>();
  }
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return std::make_unique<CodedQgemm<true>>(p, kernel_of(p), in, pool);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  // Joining the chains; the scales' product, the scaling (per group or per row), the bias.
  a.epilogue_roundings = 4;
  a.flushes_subnormals = true;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_bf16_bytes",
    .summary = "tiles of vdpbf16ps, 8- and 6-bit floats looked up in registers, scales per group",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16 | Isa::kAvx512Vbmi2,
    .limits = {{.key = "scheme",
                .values = {"fp8_e4m3", "fp8_e5m2", "fp8_e4m3_block128", "mxfp8", "mxfp6_e2m3",
                           "mxfp6_e3m2"}}},
    .declines = declines_but_bf16_x,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
