// fp32 FMA products with AVX-512 for operands in fp32, bf16 and fp16.
//
// Idea: W lies in panels of 32 columns, in its own type; 16-bit panels are widened a block at a
// time, into L1 or L2, just ahead of the 12 × 32 register tile. x is widened while it is packed.
// Bottleneck: FMA units at large M; reading W at M ≤ 8.
// Layout: W [panel][K][32] of its type, x strips [K][≤ 12] fp32.
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

// 16-bit panel [steps][32] to fp32.
template <bool kBf16>
void widen(const std::byte* packed, std::int64_t steps, std::byte* w) {
  for (std::int64_t i = 0; i < steps * 2; ++i, packed += 32, w += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(packed) + kStreamAheadBytes, _MM_HINT_T0);
    const __m256i half = _mm256_load_si256(reinterpret_cast<const __m256i*>(packed));
    _mm512_store_ps(w, kBf16 ? from_bf16_avx512(half) : _mm512_cvtph_ps(half));
  }
}

void pack_x(const Tensor& x, std::int64_t K, TileGemm& gemm, ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(gemm.strips(), thread, threads);
    for (std::int64_t s = begin; s < end; ++s) {
      const TileGemm::Strip strip = gemm.strip(s);
      const FloatRows rows{x.data + strip.row * K * static_cast<std::int64_t>(size_of(x.dtype)),
                           x.dtype, K, K};
      pack_strip_avx512(rows, strip.rows, K, {}, gemm.strip_data(s));
    }
  });
}

#pragma GCC pop_options

TileSet tile_set(DType dtype) {
  TileSet set = dword_tile_set<DwordF32>(&store_f32_avx512);
  if (dtype != DType::kF32) {
    set.unpack = dtype == DType::kBf16 ? &widen<true> : &widen<false>;
    set.packed_step_bytes = std::int64_t{kTileColumns} * 2;
  }
  return set;
}

class F32Qgemm : public Prepared {
 public:
  F32Qgemm(const QgemmProblem& p, std::span<const Tensor> in, int threads)
      : p_(p), gemm_(tile_set(p.x_dtype), p.M, p.N, p.K, threads) {
    w_ = AlignedBuffer<std::byte>(gemm_.panels() * gemm_.panel_bytes());
    const Tensor& w = in[kQgemmW];
    const auto same = [](auto value) { return value; };
    if (w.dtype == DType::kF32) {
      pack_panels(w.as<float>(), p.N, p.K, kTileColumns, 1, p.K, 0.0F, same,
                  reinterpret_cast<float*>(w_.data()));
    } else {
      pack_panels(w.as<std::uint16_t>(), p.N, p.K, kTileColumns, 1, p.K, std::uint16_t{0}, same,
                  reinterpret_cast<std::uint16_t*>(w_.data()));
    }
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
  return std::make_unique<F32Qgemm>(QgemmProblem::from(problem), in, pool.size());
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_f32",
    .summary = "12x32 tiles of fp32 FMA; 16-bit weights widened ahead of the tile",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {{.key = "scheme", .values = {"fp32", "bf16", "fp16"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
