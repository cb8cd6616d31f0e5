// Schemes with float products whose x fits bf16, in vdpbf16ps: W is decoded to bf16 block by block
// just ahead of the dense tile.
//
// Idea: as avx512_dequant, with pairs of bf16: twice the rate on Zen 5. Weights of the fp8 and MX
// formats are exact in bf16, others are rounded once (declared).
// Bottleneck: dot units at large M, decoding at small M.
// Layout: dequant_panels.h; x strips [K/2][≤ 12][2] bf16.
#include "kernels/qgemm/dequant_gemm_avx512.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<DequantQgemm<true>>(QgemmProblem::from(problem), in, pool);
}

// Codes of at most 4 significant bits times a power of two, or times nothing.
bool exact_in_bf16(WKind kind) {
  switch (kind) {
    case WKind::kMxfp4:
    case WKind::kMxfp6E2m3:
    case WKind::kMxfp6E3m2:
    case WKind::kMxfp8:
    case WKind::kFp8Row:
    case WKind::kNvfp4:  // E2M1 times E4M3: 6 bits
      return true;
    default:
      return false;
  }
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  if (!exact_in_bf16(p.w_kind)) a.u_operand = kUBf16 + kU32 * dequant_roundings(p);
  a.epilogue_roundings = dequant_epilogue_roundings(p);
  a.flushes_subnormals = true;
  return a;
}

std::string declines(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  if (p.integer_operands()) return "integer operands: only the integer variants";
  if (p.x_kind == XKind::kFloat && p.x_dtype != DType::kBf16) {
    return "dtype " + problem.word("dtype") + ": only bf16";
  }
  return "";
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_bf16_dequant",
    .summary = "W decoded to bf16 blocks ahead of 12x32 vdpbf16ps tiles",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "nf4_g64", "mxfp4",
                           "mxfp6_e2m3", "mxfp6_e3m2", "nvfp4", "fp8_e4m3", "fp8_e5m2", "mxfp8"}}},
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
