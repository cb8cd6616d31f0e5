// The variants that decode W ahead of a dense AVX-512 tile differ in the tile's type alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>

#include "harness/variant.h"
#include "kernels/qgemm/dequant_avx512.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/quantize_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

/// bf16 of fp32 values that bf16 holds exactly.
inline void truncate_to_bf16_avx512(const float* values, std::int64_t count, std::uint16_t* out) {
  for (std::int64_t k = 0; k < count; k += 16) {
    const __mmask16 lanes = first_lanes(count - k);
    const __m512i bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes, values + k));
    _mm256_mask_storeu_epi16(out + k, lanes, _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
  }
}

/// x[i] *= scale
inline void scale_avx512(float* x, std::int64_t count, float scale) {
  for (std::int64_t k = 0; k < count; k += 16) {
    const __mmask16 lanes = first_lanes(count - k);
    _mm512_mask_storeu_ps(
        x + k, lanes, _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + k), _mm512_set1_ps(scale)));
  }
}

/// Row of x in one of the fp8 schemes as fp32 values. With a scale per row these are the bare
/// codes' values and the scale is returned; with groups they are scaled, and 1 is returned.
inline float fp8_row_avx512(const QgemmProblem& p, const float* x, float* values) {
  if (p.x_kind == XKind::kFp8Row) {
    const float scale = scale_of(amax_avx512(x, p.K), p.fp8_dtype == DType::kE5m2 ? 57344 : 448);
    fp8_values_avx512(x, p.K, scale, p.fp8_dtype, values);
    return scale;
  }
  for (std::int64_t k = 0; k < p.K; k += p.x_group) {
    const std::int64_t count = std::min(p.x_group, p.K - k);
    const float amax = amax_avx512(x + k, count);
    const float scale = p.x_kind == XKind::kMxfp8
                            ? static_cast<float>(from_e8m0(mx_scale_of(amax, 8)))
                            : scale_of(amax, 448);
    fp8_values_avx512(x + k, count, scale, DType::kE4m3, values + k);
    scale_avx512(values + k, count, scale);
  }
  return 1;
}

/// Packs `rows` rows of x for the fp32 or bf16 tile.
template <bool kBf16>
void pack_rows_avx512(const std::byte* x, DType dtype, std::int64_t K, int rows, std::int64_t steps,
                      std::byte* strip) {
  if constexpr (kBf16) {
    pack_strip_avx512(DwordRows<2>{x, K * 2, K}, rows, steps, {}, strip);
  } else {
    pack_strip_avx512(FloatRows{x, dtype, K, K}, rows, steps, {}, strip);
  }
}

#pragma GCC pop_options

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
        w_(gemm_.panels() * gemm_.panel_bytes()) {
    pack_dequant_panels(p, in, format_, gemm_.panel_bytes(), w_.data(), pool);
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kTileColumns);
    if (p.w_kind == WKind::kFp8Row) {
      w_scale_ = padded_copy(in[kQgemmWScale].as<float>(), p.N, kTileColumns);
    } else if (p.w_kind == WKind::kNvfp4) {
      w_scale_ = AlignedBuffer<float>(gemm_.panels() * kTileColumns);
      std::fill_n(w_scale_.data(), w_scale_.size(), in[kQgemmWTensorScale].as<float>()[0]);
    }
    x_scale_ = AlignedBuffer<float>(p.M);
    std::fill_n(x_scale_.data(), p.M, 1.0F);
    if (p.x_kind != XKind::kFloat) {
      values_ = AlignedBuffer<float>(pool.size() * kTileRows * p.K);
      if (kBf16) halves_ = AlignedBuffer<std::uint16_t>(pool.size() * kTileRows * p.K);
    }
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
    const std::int64_t K = p_.K;
    if (p_.x_kind == XKind::kFloat) {
      const auto row_bytes = K * static_cast<std::int64_t>(size_of(x.dtype));
      pack_rows_avx512<kBf16>(x.data + strip.row * row_bytes, x.dtype, K, strip.rows, steps_,
                              gemm_.strip_data(s));
      return;
    }
    float* values = values_.data() + thread * kTileRows * K;
    for (int i = 0; i < strip.rows; ++i) {
      const std::int64_t row = strip.row + i;
      x_scale_[row] = fp8_row_avx512(p_, x.as<float>() + row * K, values + i * K);
    }
    const std::byte* source = reinterpret_cast<std::byte*>(values);
    if constexpr (kBf16) {
      std::uint16_t* halves = halves_.data() + thread * kTileRows * K;
      truncate_to_bf16_avx512(values, strip.rows * K, halves);
      source = reinterpret_cast<std::byte*>(halves);
    }
    pack_rows_avx512<kBf16>(source, DType::kF32, K, strip.rows, steps_, gemm_.strip_data(s));
  }

  QgemmProblem p_;
  DequantFormat format_;
  std::int64_t steps_;  // of the dense tile
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  AlignedBuffer<float> x_scale_;
  AlignedBuffer<float> values_;          // of one strip per thread, row-major
  AlignedBuffer<std::uint16_t> halves_;  // the same in bf16
};

}  // namespace pareto
