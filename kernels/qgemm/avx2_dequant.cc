// Every scheme with float products, in fp32 FMA with AVX2: W is decoded block by block just ahead
// of the dense tile, up to 4 rows in the tile.
//
// Idea: as avx512_dequant, in 8 lanes.
// Bottleneck: FMA units at large M; decoding at M ≤ 4.
// Layout: dequant_panels.h; x strips [K][≤ 6] fp32.
#include <algorithm>
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/dequant_avx2.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/rows_avx2.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

class DequantQgemm : public Prepared {
 public:
  DequantQgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        format_(dequant_format(p)),
        steps_((p.K + format_.group - 1) / format_.group * format_.group),
        gemm_(dequant_tile_set_avx2(format_, p.M), p.M, p.N,
              p.M <= kAvx2CodedRows ? steps_ / format_.group : steps_, pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        x_scale_(p.M),
        rows_(pool.size() * kAvx2TileRows * p.K) {
    pack_dequant_panels(p, in, format_, gemm_.panel_bytes(), w_.data(), pool);
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kAvx2TileColumns);
    if (p.w_kind == WKind::kFp8Row) {
      w_scale_ = padded_copy(in[kQgemmWScale].as<float>(), p.N, kAvx2TileColumns);
    } else if (p.w_kind == WKind::kNvfp4) {
      w_scale_ = AlignedBuffer<float>(gemm_.panels() * kAvx2TileColumns);
      std::fill_n(w_scale_.data(), w_scale_.size(), in[kQgemmWTensorScale].as<float>()[0]);
    }
    std::fill_n(x_scale_.data(), p.M, 1.0F);
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) pack(call.in[kQgemmX], s, thread);
    });
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    if (w_scale_.size() > 0) {
      epilogue.row_scale = x_scale_.data();
      epilogue.column_scale = w_scale_.data();
    }
    gemm_.multiply(w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes();
  }

 private:
  void pack(const Tensor& x, std::int64_t s, int thread) {
    const TileGemm::Strip strip = gemm_.strip(s);
    float* rows = rows_.data() + thread * kAvx2TileRows * p_.K;
    if (p_.x_kind == XKind::kFloat) {
      widen_avx2(x.data + strip.row * p_.K * static_cast<std::int64_t>(size_of(x.dtype)), x.dtype,
                 strip.rows * p_.K, rows);
    } else {
      for (int i = 0; i < strip.rows; ++i) {
        const std::int64_t row = strip.row + i;
        x_scale_[row] = fp8_row_avx2(p_, x.as<float>() + row * p_.K, rows + i * p_.K);
      }
    }
    pack_strip(rows, p_.K, strip.rows, p_.K, steps_, reinterpret_cast<float*>(gemm_.strip_data(s)));
  }

  QgemmProblem p_;
  DequantFormat format_;
  std::int64_t steps_;
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  AlignedBuffer<float> x_scale_;
  AlignedBuffer<float> rows_;  // of one strip per thread, row-major
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<DequantQgemm>(QgemmProblem::from(problem), in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  // fp8 in blocks: x times its scale is rounded, too.
  a.u_operand = kU32 * (dequant_roundings(p) + (p.x_kind == XKind::kFp8Group ? 1 : 0));
  a.epilogue_roundings = dequant_epilogue_roundings(p);
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx2_dequant",
    .summary =
        "any float scheme: W decoded to fp32 ahead of 6x16 FMA tiles, for few rows within them",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "q8_0", "q4_0", "q4_k",
                           "nf4_g64", "mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "nvfp4", "fp8_e4m3",
                           "fp8_e5m2", "fp8_e4m3_block128", "mxfp8"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
