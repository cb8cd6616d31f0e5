// bf16 products with vdpbf16ps, fp32 sums.
//
// Idea: the tile of the fp32 kernel with two bf16 per dword; x and W are only reordered.
// Bottleneck: the dot units at large M (twice the FLOP rate of fp32 FMA on Zen 5, half of it on
// Sapphire Rapids, where widening to fp32 is the better variant); reading W at M ≤ 8.
// Layout: W [panel][⌈K/2⌉][32][2], x strips [⌈K/32⌉][≤ 12][32].
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/bf16_gemm_avx512.h"
#include "kernels/qgemm/dense_tile_avx512.h"

namespace pareto {
namespace {

struct DotKernel {
  static constexpr int kPerStep = 2;
  static constexpr int kStepDwords = 1;
  static constexpr int kRowStride = kChunkStride;
  using Gemm = TileGemm;
  static Gemm gemm(StoreFunction store, const QgemmProblem& p, std::int64_t steps, int threads) {
    return {dense_tile_set<DenseBf16>(store), p.M, p.N, steps, threads,
            p.K % kPerStep == 0 ? p.K * 2 : 0};
  }
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Bf16Qgemm<DotKernel>>(QgemmProblem::from(problem), in, pool);
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_bf16",
    .summary = "12x32 tiles of vdpbf16ps",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .limits = {{.key = "scheme", .values = {"bf16"}}},
    .arithmetic = bf16_arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
