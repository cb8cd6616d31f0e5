// fp32 FMA products for x in fp32, bf16, fp16 or quantized to fp8 and W in fp32 or x's type: the
// part that kernels share which differ in the instruction set or in where W comes from.
//
// 16-bit x is widened while it is packed, fp8 x quantized, fp32 x read where it lies. W lies in
// panels, [panel][K][columns] of its type.
#pragma once

#include <cstdint>
#include <span>

#include "harness/variant.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {

/// `Simd`: its tile sets by type of W (`tiles`), their `kColumns`, and `widen_row`, which writes
/// one row of x [K] into a strip of `rows` rows; with `kFp8` also `fp8_row`, which quantizes one.
template <typename Simd>
class F32Qgemm : public Prepared {
 public:
  /// w: [N, K] in fp32 or x's type; bias: [N] in fp32, or absent.
  F32Qgemm(const QgemmProblem& p, const Tensor& w, const Tensor& bias, ThreadPool& pool)
      : p_(p),
        gemm_(Simd::tiles(w.dtype), p.M, p.N, p.K, pool.size(),
              p.x_dtype == DType::kF32 && !p.has_fp8_x() ? p.K * 4 : 0),
        row_(p.has_fp8_x() ? pool.size() * p.K : 0) {
    w_ = AlignedBuffer<std::byte>(gemm_.panels() * gemm_.panel_bytes());
    const auto same = [](auto value) { return value; };
    if (w.dtype == DType::kF32) {
      pack_panels(w.as<float>(), p.N, p.K, Simd::kColumns, 1, p.K, 0.0F, same,
                  reinterpret_cast<float*>(w_.data()), pool);
    } else {
      pack_panels(w.as<std::uint16_t>(), p.N, p.K, Simd::kColumns, 1, p.K, std::uint16_t{0}, same,
                  reinterpret_cast<std::uint16_t*>(w_.data()), pool);
    }
    if (p.has_bias) bias_ = padded_copy(bias.as<float>(), p.N, Simd::kColumns);
  }

  void run(const Call& call) override {
    const Tensor& x = call.in[kQgemmX];
    if (!gemm_.in_place()) pack_x(x, call.pool);
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    gemm_.multiply(w_.data(), epilogue, call.pool, x.data);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  void pack_x(const Tensor& x, ThreadPool& pool) {
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        std::byte* out = gemm_.strip_data(s);
        for (int i = 0; i < strip.rows; ++i, out += kChunkStride) {
          if constexpr (Simd::kFp8) {
            if (p_.has_fp8_x()) {
              float* row = row_.data() + thread * p_.K;
              Simd::fp8_row(p_, x.as<float>() + (strip.row + i) * p_.K, row);
              const Tensor view{DType::kF32, Shape{1, p_.K}, reinterpret_cast<std::byte*>(row)};
              Simd::widen_row(view, 0, p_.K, strip.rows, out);
              continue;
            }
          }
          Simd::widen_row(x, strip.row + i, p_.K, strip.rows, out);
        }
      }
    });
  }

  QgemmProblem p_;
  TileGemm gemm_;
  AlignedBuffer<float> row_;  // of fp8 values, one per thread
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

}  // namespace pareto
