// Not sparse: W written out densely ahead of time, for the dense kernel of the quantized GEMMs
// (avx2_f32). What a sparse format of ours has to beat.
//
// Idea: 6 × 16 tiles over blocks that stay in cache (tiled_layer_avx2.h). Bottleneck: FMA units;
// reading W when there are few tokens.
// Layout: ../qgemm/f32_gemm_avx2.h, W in panels of 16 rows, in its own type.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/sparse/multiplies_zeros.h"
#include "kernels/sparse/tiled_layer_avx2.h"
#include "kernels/sparse/written_out.h"

namespace pareto {
namespace {

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const SparseProblem p = SparseProblem::from(problem);
  const auto pack = [&](const TileGemm& gemm) {
    AlignedBuffer<std::byte> dense = written_out(p, in, p.K);
    const Tensor w{p.dtype, Shape{p.N, p.K}, dense.data()};
    return panels_of<F32Avx2>(w, gemm, pool);
  };
  return std::make_unique<TiledLayer>(p, in, F32Avx2::tiles(p.dtype), pack, nullptr, pool);
}

const Registration registration{{
    .op = "sparse",
    .name = "avx2_dense",
    .summary = "not sparse: W written out densely ahead of time, then 6x16 tiles of fp32 FMA",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {written_out_formats()},
    .arithmetic = multiplies_zeros,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
