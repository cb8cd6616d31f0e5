// bf16 x against 4-bit weights (w4a16, MXFP4, NVFP4) in vdpbf16ps, codes decoded in registers or,
// with many rows, once ahead of the tile.
//
// Idea: a nibble's value is exact in bf16, so codes become dot operands by one shift and one table
// permutation, and the group's scale is applied to the fp32 sum of the group: nothing is rounded
// that the reference does not round, and W is read at its compressed size.
// Bottleneck: reading W at M = 1, dot units from M = 4 on.
// Layout: coded_tile_avx512.h, scaled_tile_avx512.h.
#include <array>
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/coded_gemm_avx512.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

// bf16 values of the 16 codes.
constexpr std::array<std::uint16_t, 16> kInt4Bf16 = {0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040,
                                                     0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000, 0x4040,
                                                     0x4080, 0x40a0, 0x40c0, 0x40e0};
constexpr std::array<std::uint16_t, 16> kE2m1Bf16 = {0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040,
                                                     0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80, 0xbfc0,
                                                     0xc000, 0xc040, 0xc080, 0xc0c0};
using Int4 = NibblePairs<&kInt4Bf16>;
using E2m1 = NibblePairs<&kE2m1Bf16>;

CodedKernel kernel_of(const QgemmProblem& p) {
  switch (p.w_kind) {
    case WKind::kInt4Asym:
      return unpacking_kernel<CodedFormat<ZeroNibblePairs, 128, ScaleKind::kF16, false, 5>>();
    case WKind::kMxfp4:
      return unpacking_kernel<CodedFormat<E2m1, 32, ScaleKind::kBf16>>();
    case WKind::kNvfp4:
      // Unpacked, a group of 16 is scaled too often.
      return decoded_kernel<CodedFormat<E2m1, 16, ScaleKind::kF16>>();
    default:
      return p.w_group == 32 ? unpacking_kernel<CodedFormat<Int4, 32, ScaleKind::kF16>>()
                             : unpacking_kernel<CodedFormat<Int4, 128, ScaleKind::kF16>>();
  }
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return std::make_unique<CodedQgemm<true>>(p, kernel_of(p), in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  // Joining the chains and the groups' scale, the bias; nvfp4: the scale of the tensor.
  a.epilogue_roundings = p.w_kind == WKind::kNvfp4 ? 5 : 3;
  a.flushes_subnormals = true;
  return a;
}

std::string declines(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return p.x_dtype == DType::kBf16 ? "" : "dtype " + problem.word("dtype") + ": only bf16";
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_bf16_nibbles",
    .summary = "6x32 tiles of vdpbf16ps, 4-bit codes decoded in registers, scales per group",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "mxfp4", "nvfp4"}}},
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
