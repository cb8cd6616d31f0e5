// bf16 products with vdpbf16ps, fp32 sums.
//
// Idea: the tile of the fp32 kernel with two bf16 per dword; x and W are only reordered.
// Bottleneck: the dot units at large M (twice the FLOP rate of fp32 FMA on Zen 5, half of it on
// Sapphire Rapids, where widening to fp32 is the better variant); reading W at M ≤ 8.
// Layout: W [panel][⌈K/2⌉][32][2], x strips [⌈K/2⌉][≤ 12][2].
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

void pack_x(const Tensor& x, std::int64_t K, TileGemm& gemm, ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(gemm.strips(), thread, threads);
    for (std::int64_t s = begin; s < end; ++s) {
      const TileGemm::Strip strip = gemm.strip(s);
      const DwordRows<2> rows{x.data + strip.row * K * 2, K * 2, K};
      pack_strip_avx512(rows, strip.rows, (K + 1) / 2, {}, gemm.strip_data(s));
    }
  });
}

#pragma GCC pop_options

class Bf16Qgemm : public Prepared {
 public:
  Bf16Qgemm(const QgemmProblem& p, std::span<const Tensor> in, int threads)
      : p_(p),
        gemm_(dword_tile_set<DwordBf16>(&store_f32_avx512), p.M, p.N, (p.K + 1) / 2, threads),
        w_(gemm_.panels() * gemm_.panel_bytes()) {
    const auto same = [](std::uint16_t value) { return value; };
    pack_panels(in[kQgemmW].as<std::uint16_t>(), p.N, p.K, kTileColumns, 2, std::uint16_t{0}, same,
                reinterpret_cast<std::uint16_t*>(w_.data()));
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kTileColumns);
  }

  void run(const Call& call) override {
    pack_x(call.in[kQgemmX], p_.K, gemm_, call.pool);
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    gemm_.multiply(w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  QgemmProblem p_;
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Bf16Qgemm>(QgemmProblem::from(problem), in, pool.size());
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  a.flushes_subnormals = true;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_bf16",
    .summary = "12x32 tiles of vdpbf16ps",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .limits = {{.key = "scheme", .values = {"bf16"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
