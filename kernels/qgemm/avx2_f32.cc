// fp32 FMA products with AVX2 for operands in fp32, bf16 and fp16.
//
// Idea: as avx512_f32, with tiles of 6 × 16: W in panels of 32 columns in its own type, 16-bit
// panels widened a block at a time, x widened while it is packed.
// Bottleneck: FMA units at large M; reading W at M ≤ 4.
// Layout: W [panel][K][32] of its type, x strips [K][≤ 6] fp32.
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/rows_avx2.h"
#include "kernels/qgemm/store_avx2.h"
#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,bmi2")

// 16-bit panel [steps][32] to fp32.
template <DType kDType>
void widen_panel(const std::byte* packed, std::int64_t steps, std::byte* w) {
  for (std::int64_t i = 0; i < steps * 4; ++i, packed += 16, w += 32) {
    _mm_prefetch(reinterpret_cast<const char*>(packed) + kAvx2AheadBytes, _MM_HINT_T0);
    _mm256_store_ps(reinterpret_cast<float*>(w), load_float_avx2(packed, kDType));
  }
}

#pragma GCC pop_options

TileSet tile_set(DType dtype) {
  TileSet set = step_tile_set_avx2<Avx2StepF32>(&store_f32_avx2);
  if (dtype != DType::kF32) {
    set.unpack = dtype == DType::kBf16 ? &widen_panel<DType::kBf16> : &widen_panel<DType::kF16>;
    set.packed_step_bytes = std::int64_t{kAvx2TileColumns} * 2;
  }
  return set;
}

class F32Qgemm : public Prepared {
 public:
  F32Qgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        gemm_(tile_set(p.x_dtype), p.M, p.N, p.K, pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        rows_(pool.size() * kAvx2TileRows * p.K) {
    const Tensor& w = in[kQgemmW];
    const auto same = [](auto value) { return value; };
    if (w.dtype == DType::kF32) {
      pack_panels(w.as<float>(), p.N, p.K, kAvx2TileColumns, 1, p.K, 0.0F, same,
                  reinterpret_cast<float*>(w_.data()), pool);
    } else {
      pack_panels(w.as<std::uint16_t>(), p.N, p.K, kAvx2TileColumns, 1, p.K, std::uint16_t{0}, same,
                  reinterpret_cast<std::uint16_t*>(w_.data()), pool);
    }
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kAvx2TileColumns);
  }

  void run(const Call& call) override {
    const Tensor& x = call.in[kQgemmX];
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      float* rows = rows_.data() + thread * kAvx2TileRows * p_.K;
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        widen_avx2(x.data + strip.row * p_.K * static_cast<std::int64_t>(size_of(x.dtype)), x.dtype,
                   strip.rows * p_.K, rows);
        pack_strip(rows, p_.K, strip.rows, p_.K, p_.K,
                   reinterpret_cast<float*>(gemm_.strip_data(s)));
      }
    });
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
  AlignedBuffer<float> rows_;  // of one strip per thread, row-major
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<F32Qgemm>(QgemmProblem::from(problem), in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx2_f32",
    .summary = "6x16 tiles of fp32 FMA; 16-bit weights widened ahead of the tile",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme", .values = {"fp32", "bf16", "fp16"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
