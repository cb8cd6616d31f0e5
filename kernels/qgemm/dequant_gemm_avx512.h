// The variants that decode W ahead of a dense AVX-512 tile differ in the tile's type alone.
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

/// W compressed in panels, decoded to fp32 or bf16 per block; x widened, copied, or quantized to
/// fp8 values, per strip.
template <bool kBf16>
class DequantQgemm : public Prepared {
 public:
  DequantQgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        format_(dequant_format(p)),
        steps_((p.K + format_.group - 1) / format_.group * format_.group / (kBf16 ? 2 : 1)),
        gemm_(dequant_tile_set_avx512<kBf16>(format_), p.M, p.N, steps_, pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        strips_(p, {}, steps_, kTileRows, pool.size()) {
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
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) {
        strips_.pack(call.in[kQgemmX], gemm_.strip(s), thread, gemm_.strip_data(s));
      }
    });
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    if (w_scale_.size() > 0) {
      epilogue.row_scale = strips_.row_scale();
      epilogue.column_scale = w_scale_.data();
    }
    gemm_.multiply(w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes();
  }

 private:
  QgemmProblem p_;
  DequantFormat format_;
  std::int64_t steps_;  // of the dense tile
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  FloatStrips<kBf16> strips_;
};

}  // namespace pareto
