// fp32 FMA products with AVX-512 for x in fp32, bf16 or fp16 and W in fp32 or x's type: the part
// that kernels share which differ in where W comes from.
//
// 16-bit x is widened while it is packed, fp32 x read where it lies. W lies in panels of 32
// columns, [panel][K][32] of its type.
#pragma once

#include <cstdint>
#include <span>

#include "harness/variant.h"
#include "kernels/qgemm/dense_tile_avx512.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

/// One row of a strip, widened.
inline void widen_row(const Tensor& x, std::int64_t row, std::int64_t K, int rows, std::byte* out) {
  for (std::int64_t k = 0; k < K; k += kChunkDwords, out += rows * kChunkStride) {
    const __mmask16 lanes = first_lanes(K - k);
    _mm512_mask_storeu_ps(out, lanes, load_float_avx512(x.data, x.dtype, row * K + k, lanes));
  }
}

inline void pack_wide_x(const Tensor& x, std::int64_t K, TileGemm& gemm, ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(gemm.strips(), thread, threads);
    for (std::int64_t s = begin; s < end; ++s) {
      const TileGemm::Strip strip = gemm.strip(s);
      std::byte* out = gemm.strip_data(s);
      for (int i = 0; i < strip.rows; ++i, out += kChunkStride) {
        widen_row(x, strip.row + i, K, strip.rows, out);
      }
    }
  });
}

#pragma GCC pop_options

inline TileSet f32_tile_set(DType dtype) {
  if (dtype == DType::kBf16) return dense_tile_set<DenseBf16Wide>(&store_f32_avx512);
  if (dtype == DType::kF16) return dense_tile_set<DenseF16>(&store_f32_avx512);
  return dense_tile_set<DenseF32>(&store_f32_avx512);
}

class F32Qgemm : public Prepared {
 public:
  /// w: [N, K] in fp32 or x's type; bias: [N] in fp32, or absent.
  F32Qgemm(const QgemmProblem& p, const Tensor& w, const Tensor& bias, ThreadPool& pool)
      : p_(p),
        gemm_(f32_tile_set(w.dtype), p.M, p.N, p.K, pool.size(),
              p.x_dtype == DType::kF32 ? p.K * 4 : 0) {
    w_ = AlignedBuffer<std::byte>(gemm_.panels() * gemm_.panel_bytes());
    const auto same = [](auto value) { return value; };
    if (w.dtype == DType::kF32) {
      pack_panels(w.as<float>(), p.N, p.K, kTileColumns, 1, p.K, 0.0F, same,
                  reinterpret_cast<float*>(w_.data()), pool);
    } else {
      pack_panels(w.as<std::uint16_t>(), p.N, p.K, kTileColumns, 1, p.K, std::uint16_t{0}, same,
                  reinterpret_cast<std::uint16_t*>(w_.data()), pool);
    }
    if (p.has_bias) bias_ = padded_copy(bias.as<float>(), p.N, kTileColumns);
  }

  void run(const Call& call) override {
    const Tensor& x = call.in[kQgemmX];
    if (!gemm_.in_place()) pack_wide_x(x, p_.K, gemm_, call.pool);
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    gemm_.multiply(w_.data(), epilogue, call.pool, x.data);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  QgemmProblem p_;
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

}  // namespace pareto
