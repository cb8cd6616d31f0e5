// fp32 FMA products for x in fp32, bf16, fp16 or quantized and W in fp32 or x's type: the
// part that kernels share which differ in the instruction set or in where W comes from.
//
// 16-bit x is widened while it is packed, x of other schemes quantized, fp32 x read where it lies.
// W lies in panels, [panel][K][columns] of its type.
#pragma once

#include <cstdint>
#include <span>

#include "harness/variant.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {

/// The blocked product with x on its way into strips. `Simd`: `widen_row` writes one row of 16-bit
/// x [K] into a strip of `rows` rows.
template <typename Simd>
class F32Product {
 public:
  /// `tiles`: for W in fp32 or x's type, stored or unpacked. in_place: x is fp32, row-major, and
  /// read where it lies.
  F32Product(const TileSet& tiles, std::int64_t M, std::int64_t N, std::int64_t K, bool in_place,
             int threads)
      : K_(K), gemm_(tiles, M, N, K, threads, in_place ? K * 4 : 0) {}

  [[nodiscard]] const TileGemm& gemm() const { return gemm_; }

  /// y = f(x·Wᵀ + bias).
  void run(const Tensor& x, const std::byte* w, const Epilogue& epilogue, ThreadPool& pool) {
    if (!gemm_.in_place()) widen(x, pool);
    gemm_.multiply(w, epilogue, pool, x.data);
  }

 private:
  void widen(const Tensor& x, ThreadPool& pool) {
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        std::byte* out = gemm_.strip_data(s);
        for (int i = 0; i < strip.rows; ++i, out += kChunkStride) {
          Simd::widen_row(x, strip.row + i, K_, strip.rows, out);
        }
      }
    });
  }

  std::int64_t K_;
  TileGemm gemm_;
};

/// w [N, K], in fp32 or 16 bits, in panels as `gemm` of `Simd` reads them.
template <typename Simd>
AlignedBuffer<std::byte> panels_of(const Tensor& w, const TileGemm& gemm, ThreadPool& pool) {
  AlignedBuffer<std::byte> panels(gemm.panels() * gemm.panel_bytes());
  const std::int64_t N = w.shape[0];
  const std::int64_t K = w.shape[1];
  const auto same = [](auto value) { return value; };
  const auto column_at = [&](int place) { return Simd::column_at(w.dtype, place); };
  if (w.dtype == DType::kF32) {
    pack_panels(w.as<float>(), N, K, Simd::kColumns, 1, K, 0.0F, same,
                reinterpret_cast<float*>(panels.data()), pool, column_at);
  } else {
    pack_panels(w.as<std::uint16_t>(), N, K, Simd::kColumns, 1, K, std::uint16_t{0}, same,
                reinterpret_cast<std::uint16_t*>(panels.data()), pool, column_at);
  }
  return panels;
}

/// `Simd` as above, and its tile sets by type of W (`tiles`), their `kColumns` and `column_at`;
/// with `kQuantizesX` also `quantized_row`, for schemes with a scale per row or group.
template <typename Simd>
class F32Qgemm : public Prepared {
 public:
  /// w: [N, K] in fp32 or x's type; bias: [N] in fp32, or absent.
  F32Qgemm(const QgemmProblem& p, const Tensor& w, const Tensor& bias, ThreadPool& pool)
      : p_(p),
        product_(Simd::tiles(w.dtype), p.M, p.N, p.K, p.x_dtype == DType::kF32, pool.size()),
        x_(p.x_kind == XKind::kFloat ? 0 : p.M * p.K),
        w_(panels_of<Simd>(w, product_.gemm(), pool)) {
    if (p.has_bias) bias_ = padded_copy(bias.as<float>(), p.N, Simd::kColumns);
  }

  void run(const Call& call) override {
    const Tensor& x = call.in[kQgemmX];
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    if constexpr (Simd::kQuantizesX) {
      if (p_.x_kind != XKind::kFloat) {
        return product_.run(quantized(x, call.pool), w_.data(), epilogue, call.pool);
      }
    }
    product_.run(x, w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  // The values of x's codes, row-major.
  Tensor quantized(const Tensor& x, ThreadPool& pool) {
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      for (std::int64_t m = begin; m < end; ++m) {
        Simd::quantized_row(p_, x.as<float>() + m * p_.K, x_.data() + m * p_.K);
      }
    });
    return {DType::kF32, Shape{p_.M, p_.K}, reinterpret_cast<std::byte*>(x_.data())};
  }

  QgemmProblem p_;
  F32Product<Simd> product_;
  AlignedBuffer<float> x_;  // where a scheme quantizes it
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

}  // namespace pareto
