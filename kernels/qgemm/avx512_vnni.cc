// int8 products with AVX-512 VNNI, one scale per row of x and of W: the w8a8 family and integer
// operands.
//
// Idea: vpdpbusd wants one unsigned side. W is stored as code + 128, x stays signed, and the sums
// are put right with 128·Σx of their row: exact in two's complement, and no column sums where x has
// no zero point. Unsigned x is stored less 128, as is its zero point.
// Bottleneck: VNNI units at large M; reading W at M ≤ 16.
// Layout: W u8 [panel][⌈K/4⌉][32][4], x strips [⌈K/64⌉][≤ 12][64] s8, quantized in place.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/dense_tile_avx512.h"
#include "kernels/qgemm/int8_gemm_avx512.h"

namespace pareto {
namespace {

struct VnniKernel {
  static constexpr int kPerStep = 4;
  static constexpr int kStepDwords = 1;
  static constexpr int kRowStride = kChunkStride;
  static constexpr std::uint8_t kRaise = 128;
  using Gemm = TileGemm;
  static Gemm gemm(StoreFunction store, const QgemmProblem& p, std::int64_t steps, int threads) {
    return {dense_tile_set<DenseVnni>(store), p.M, p.N, steps, threads};
  }
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Int8Qgemm<VnniKernel>>(QgemmProblem::from(problem), in, pool);
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_vnni",
    .summary = "12x32 tiles of vpdpbusd, x quantized and packed per strip; exact int32",
    .needs = Isa::kAvx512 | Isa::kAvx512Vnni,
    .limits = {{.key = "scheme", .values = {"w8a8", "w8a8_tensor", "w8a8_static", "w8a8_asym"}}},
    .arithmetic = int8_arithmetic,
    .prepare = prepare,
    .unit = "vnni_int8",
}};

}  // namespace
}  // namespace pareto
