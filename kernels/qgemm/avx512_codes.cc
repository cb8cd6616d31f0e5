// Float schemes with x or tables beyond bf16 (Q4_0, Q4_K, Q8_0, NF4, fp16 x) in fp32 FMA with
// AVX-512, codes decoded in registers: for few rows, where avx512_dequant would spend its time on
// writing and reading unpacked blocks.
//
// Idea: a nibble indexes a register of 16 floats, an s8 is widened and converted; the group's scale
// is applied to the sum of the group (Q4_K: scale and minimum to every value, as taking the minimum
// off afterwards would cancel).
// Bottleneck: at M = 1 decoding on Zen 4 (three operations per 16 weights, two per cycle), reading
// W where 512-bit operations are not split; FMA from M = 4 on. Layout: coded_tile_avx512.h.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/coded_gemm_avx512.h"
#include "kernels/qgemm/dequant_values.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using Int4 = NibbleFloats<kInt4Values>;
using Nf4 = NibbleFloats<kNf4Table>;
using ZeroInt4 = NibbleFloats<kUInt4Values, ShiftColumns>;
using Q4k = NibbleFloats<kUInt4Values, Q4kColumns>;

CodedKernel kernel_of(const QgemmProblem& p) {
  switch (p.w_kind) {
    case WKind::kQ8Block:
      return decoded_kernel<CodedFormat<ByteFloats, 32, ScaleKind::kF16>>();
    case WKind::kQ4kBlock:
      return decoded_kernel<CodedFormat<Q4k, 32, ScaleKind::kNone>>();
    case WKind::kNf4:
      return decoded_kernel<CodedFormat<Nf4, 64, ScaleKind::kF32>>();
    case WKind::kInt4Asym:
      return decoded_kernel<CodedFormat<ZeroInt4, 128, ScaleKind::kF16, false, 5>>();
    default:
      return p.w_group == 32 ? decoded_kernel<CodedFormat<Int4, 32, ScaleKind::kF16>>()
                             : decoded_kernel<CodedFormat<Int4, 128, ScaleKind::kF16>>();
  }
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return std::make_unique<CodedQgemm<false>>(p, kernel_of(p), in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  if (p.w_kind == WKind::kQ4kBlock) a.u_operand = kU32;  // code · scale − minimum
  a.epilogue_roundings = 3;  // joining the chains, the groups' scale, the bias
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_codes",
    .summary = "6x32 tiles of fp32 FMA, codes decoded in registers, scales per group",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "q8_0", "q4_0", "q4_k",
                           "nf4_g64"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
