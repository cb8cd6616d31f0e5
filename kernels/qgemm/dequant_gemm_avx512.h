// The variants that decode W ahead of a dense tile differ in the tile alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "harness/variant.h"
#include "kernels/qgemm/dequant_avx512.h"
#include "kernels/qgemm/float_strips_avx512.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {

/// Dense AVX-512 tiles of fp32 or bf16.
template <bool kInBf16>
struct DequantTiles {
  static constexpr bool kBf16 = kInBf16;
  static constexpr int kStripRows = kTileRows;
  /// Elements of K in one step.
  static constexpr int kPerStep = kBf16 ? 2 : 1;
  using Gemm = TileGemm;
  static Gemm gemm(const DequantFormat& format, const QgemmProblem& p, std::int64_t steps,
                   int threads) {
    return {dequant_tile_set_avx512<kBf16>(format), p.M, p.N, steps, threads};
  }
  static void pack(FloatStrips<kBf16>& strips, const Tensor& x, const TileGemm::Strip& strip,
                   int thread, const Gemm& /*gemm*/, std::byte* out) {
    strips.pack(x, strip, thread, out);
  }
};

/// W compressed in panels, decoded to fp32 or bf16 per block; x widened, copied, or quantized to
/// fp8 values, per strip. `Kernel`: as DequantTiles.
template <typename Kernel>
class DequantQgemm : public Prepared {
 public:
  DequantQgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        format_(dequant_format(p)),
        steps_(((p.K + format_.group - 1) / format_.group * format_.group + Kernel::kPerStep - 1) /
               Kernel::kPerStep),
        gemm_(Kernel::gemm(format_, p, steps_, pool.size())),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        strips_(p, {}, steps_, Kernel::kStripRows, pool.size()) {
    pack_dequant_panels(p, in, format_, gemm_.panel_bytes(), w_.data(), pool);
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kTileColumns);
    if (p.w_kind == WKind::kFp8Row) {
      w_scale_ = padded_copy(in[kQgemmWScale].as<float>(), p.N, kTileColumns);
    } else if (p.w_kind == WKind::kNvfp4) {
      w_scale_ = AlignedBuffer<float>(gemm_.panels() * kTileColumns);
      std::fill_n(w_scale_.data(), w_scale_.size(), in[kQgemmWTensorScale].as<float>()[0]);
    }
  }

  void run(const Call& call) override {
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    if (w_scale_.size() > 0) {
      epilogue.row_scale = strips_.row_scale();
      epilogue.column_scale = w_scale_.data();
    }
    gemm_.fill_and_multiply(w_.data(), epilogue, call.pool, nullptr,
                            [&](const TileGemm::Strip& strip, int thread, std::byte* out) {
                              Kernel::pack(strips_, call.in[kQgemmX], strip, thread, gemm_, out);
                            });
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes();
  }

 private:
  QgemmProblem p_;
  DequantFormat format_;
  std::int64_t steps_;  // of the dense tile
  typename Kernel::Gemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  FloatStrips<Kernel::kBf16> strips_;
};

}  // namespace pareto
