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

/// The blocked product with x on its way into strips. `Simd`: `widen_row` writes one row of x [K]
/// into a strip of `rows` rows.
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
    if (!gemm_.in_place()) {
      pack_x(pool, [&](int /*thread*/, std::int64_t row, int rows, std::byte* out) {
        Simd::widen_row(x, row, K_, rows, out);
      });
    }
    gemm_.multiply(w, epilogue, pool, x.data);
  }

  /// For strips that are packed in another way: write_row(thread, row, rows of the strip, out) for
  /// every row of x, then `multiply`.
  template <typename WriteRow>
  void pack_x(ThreadPool& pool, const WriteRow& write_row) {
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        std::byte* out = gemm_.strip_data(s);
        for (int i = 0; i < strip.rows; ++i, out += kChunkStride) {
          write_row(thread, strip.row + i, strip.rows, out);
        }
      }
    });
  }
  void multiply(const std::byte* w, const Epilogue& epilogue, ThreadPool& pool) {
    gemm_.multiply(w, epilogue, pool);
  }

 private:
  std::int64_t K_;
  TileGemm gemm_;
};

/// w [N, K], in fp32 or 16 bits, in panels as `gemm` reads them.
inline AlignedBuffer<std::byte> panels_of(const Tensor& w, const TileGemm& gemm, int columns,
                                          ThreadPool& pool) {
  AlignedBuffer<std::byte> panels(gemm.panels() * gemm.panel_bytes());
  const std::int64_t N = w.shape[0];
  const std::int64_t K = w.shape[1];
  const auto same = [](auto value) { return value; };
  if (w.dtype == DType::kF32) {
    pack_panels(w.as<float>(), N, K, columns, 1, K, 0.0F, same,
                reinterpret_cast<float*>(panels.data()), pool);
  } else {
    pack_panels(w.as<std::uint16_t>(), N, K, columns, 1, K, std::uint16_t{0}, same,
                reinterpret_cast<std::uint16_t*>(panels.data()), pool);
  }
  return panels;
}

/// `Simd` as above, and its tile sets by type of W (`tiles`), their `kColumns`; with `kFp8` also
/// `fp8_row`, which quantizes one row.
template <typename Simd>
class F32Qgemm : public Prepared {
 public:
  /// w: [N, K] in fp32 or x's type; bias: [N] in fp32, or absent.
  F32Qgemm(const QgemmProblem& p, const Tensor& w, const Tensor& bias, ThreadPool& pool)
      : p_(p),
        product_(Simd::tiles(w.dtype), p.M, p.N, p.K, p.x_dtype == DType::kF32 && !p.has_fp8_x(),
                 pool.size()),
        row_(p.has_fp8_x() ? pool.size() * p.K : 0),
        w_(panels_of(w, product_.gemm(), Simd::kColumns, pool)) {
    if (p.has_bias) bias_ = padded_copy(bias.as<float>(), p.N, Simd::kColumns);
  }

  void run(const Call& call) override {
    const Tensor& x = call.in[kQgemmX];
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    if constexpr (Simd::kFp8) {
      if (p_.has_fp8_x()) {
        pack_fp8(x, call.pool);
        return product_.multiply(w_.data(), epilogue, call.pool);
      }
    }
    product_.run(x, w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  void pack_fp8(const Tensor& x, ThreadPool& pool) {
    product_.pack_x(pool, [&](int thread, std::int64_t row, int rows, std::byte* out) {
      float* values = row_.data() + thread * p_.K;
      Simd::fp8_row(p_, x.as<float>() + row * p_.K, values);
      const Tensor view{DType::kF32, Shape{1, p_.K}, reinterpret_cast<std::byte*>(values)};
      Simd::widen_row(view, 0, p_.K, rows, out);
    });
  }

  QgemmProblem p_;
  F32Product<Simd> product_;
  AlignedBuffer<float> row_;  // of fp8 values, one per thread
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

}  // namespace pareto
