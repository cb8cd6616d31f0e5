// Rows of x made ready for tiles of fp32 or bf16 dwords: widened, copied, or quantized to fp8
// values, with AVX-512.
#pragma once

#include <algorithm>
#include <cstdint>

#include "harness/aligned_buffer.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/qgemm/pack_strip.h"
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

#pragma GCC pop_options

/// `extra` dwords of the layout hold the scales of an fp8 scheme with groups; without them its
/// values are scaled.
template <bool kBf16>
class FloatStrips {
 public:
  FloatStrips(const QgemmProblem& p, const StripLayout& layout, std::int64_t dwords, int max_rows,
              int threads)
      : p_(p), layout_(layout), dwords_(dwords), row_scale_(p.M) {
    std::fill_n(row_scale_.data(), p.M, 1.0F);
    if (p.x_kind == XKind::kFloat) return;
    values_ = AlignedBuffer<float>(threads * max_rows * p.K);
    if (kBf16) halves_ = AlignedBuffer<std::uint16_t>(threads * max_rows * p.K);
    max_values_ = max_rows * p.K;
  }

  /// Fills one strip of the product's workspace.
  void pack(const Tensor& x, const TileGemm::Strip& strip, int thread, std::byte* out) {
    const Rows rows = rows_of(x, strip, thread, out);
    pack_rows(rows.data, rows.dtype, strip.rows, out);
  }
  /// The same as chunks of 64 bytes, `stride` bytes from one of a row to its next.
  void pack_chunks(const Tensor& x, const TileGemm::Strip& strip, int thread, std::int64_t stride,
                   std::byte* out) {
    static_assert(kBf16);
    const Rows rows = rows_of(x, strip, thread, out);
    for (int i = 0; i < strip.rows; ++i) {
      copy_chunks_avx512(rows.data + i * p_.K * 2, p_.K * 2, stride, out + i * kChunkBytes);
    }
  }

  /// Scale per row for the epilogue [M]; ones where there is none.
  [[nodiscard]] const float* row_scale() const { return row_scale_.data(); }

 private:
  struct Rows {
    const std::byte* data = nullptr;
    DType dtype = DType::kF32;
  };

  // The rows of a strip as products take them.
  Rows rows_of(const Tensor& x, const TileGemm::Strip& strip, int thread, std::byte* out) {
    const std::int64_t K = p_.K;
    if (p_.x_kind == XKind::kFloat) {
      const auto row_bytes = K * static_cast<std::int64_t>(size_of(x.dtype));
      return {x.data + strip.row * row_bytes, x.dtype};
    }
    float* values = values_.data() + thread * max_values_;
    for (int i = 0; i < strip.rows; ++i) {
      const std::int64_t row = strip.row + i;
      float* scales = layout_.extra == 0 ? nullptr : reinterpret_cast<float*>(out) + i;
      row_scale_[row] = quantize(x.as<float>() + row * K, values + i * K, scales, strip.rows);
    }
    const std::byte* source = reinterpret_cast<std::byte*>(values);
    if constexpr (kBf16) {
      std::uint16_t* halves = halves_.data() + thread * max_values_;
      truncate_to_bf16_avx512(values, strip.rows * K, halves);
      source = reinterpret_cast<std::byte*>(halves);
    }
    return {source, DType::kF32};
  }

  void pack_rows(const std::byte* x, DType dtype, int rows, std::byte* out) const {
    if constexpr (kBf16) {
      pack_strip_avx512(DwordRows<2>{x, p_.K * 2, p_.K}, rows, dwords_, layout_, out);
    } else {
      pack_strip_avx512(FloatRows{x, dtype, p_.K, p_.K}, rows, dwords_, layout_, out);
    }
  }

  // One row to fp8 values. With a scale per row or with `scales` these are the bare codes' values;
  // the row's scale is returned, else 1.
  float quantize(const float* x, float* values, float* scales, int rows) const {
    if (p_.x_kind == XKind::kFp8Row) {
      const float scale =
          scale_of(amax_avx512(x, p_.K), p_.fp8_dtype == DType::kE5m2 ? 57344 : 448);
      fp8_values_avx512(x, p_.K, scale, p_.fp8_dtype, values);
      return scale;
    }
    for (std::int64_t k = 0; k < p_.K; k += p_.x_group) {
      const std::int64_t count = std::min(p_.x_group, p_.K - k);
      const float amax = amax_avx512(x + k, count);
      const float scale = p_.x_kind == XKind::kMxfp8
                              ? static_cast<float>(from_e8m0(mx_scale_of(amax, 8)))
                              : scale_of(amax, 448);
      fp8_values_avx512(x + k, count, scale, DType::kE4m3, values + k);
      if (scales == nullptr) {
        scale_avx512(values + k, count, scale);
      } else {
        const std::int64_t step = k / p_.x_group;
        scales[(step * (layout_.group + layout_.extra) + layout_.group) * rows] = scale;
      }
    }
    return 1;
  }

  QgemmProblem p_;
  StripLayout layout_;
  std::int64_t dwords_;
  AlignedBuffer<float> row_scale_;
  AlignedBuffer<float> values_;          // of one strip per thread, row-major
  AlignedBuffer<std::uint16_t> halves_;  // the same in bf16
  std::int64_t max_values_ = 0;
};

}  // namespace pareto
