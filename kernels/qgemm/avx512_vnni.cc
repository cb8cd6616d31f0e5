// int8 products with AVX-512 VNNI, one scale per row of x and of W: the w8a8 family and integer
// operands.
//
// Idea: vpdpbusd wants one unsigned side. W is stored as code + 128, x stays signed, and the sums
// are put right with 128·Σx of their row: exact in two's complement, and no column sums where x has
// no zero point. Unsigned x is stored less 128, as is its zero point.
// Bottleneck: VNNI units at large M; reading W at M ≤ 16.
// Layout: W u8 [panel][⌈K/4⌉][32][4], x strips [⌈K/4⌉][≤ 12][4] s8; x is quantized a strip at a
// time into row order and then transposed.
#include <cstdint>
#include <vector>

#include "harness/variant.h"
#include "kernels/qgemm/int8_rows.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/quantize_avx512.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

// Codes given as s8 or u8, as s8 (u8 less 128); returns their sum.
std::int32_t copy_codes(const Tensor& x, std::int64_t begin, std::int64_t count, std::int8_t* q) {
  const __m128i flip = _mm_set1_epi8(x.dtype == DType::kU8 ? -128 : 0);
  __m512i sum = _mm512_setzero_si512();
  for (std::int64_t k = 0; k < count; k += 16) {
    const __mmask16 lanes = first_lanes(count - k);
    const __m128i codes = _mm_xor_si128(_mm_maskz_loadu_epi8(lanes, x.data + begin + k), flip);
    _mm_mask_storeu_epi8(q + k, lanes, codes);
    sum = _mm512_add_epi32(sum, _mm512_maskz_cvtepi8_epi32(lanes, codes));
  }
  return _mm512_reduce_add_epi32(sum);
}

// The largest magnitude of the rows [begin, end).
float amax_of_rows(const Tensor& x, std::int64_t begin, std::int64_t end) {
  const std::int64_t K = x.shape[1];
  return amax_avx512(x.as<float>() + begin * K, (end - begin) * K);
}

void pack_codes(const std::int8_t* rows, std::int64_t stride, std::int64_t K, int count,
                std::byte* strip) {
  const DwordRows<1> codes{reinterpret_cast<const std::byte*>(rows), stride, K};
  pack_strip_avx512(codes, count, (K + 3) / 4, {}, strip);
}

#pragma GCC pop_options

class VnniQgemm : public Prepared {
 public:
  VnniQgemm(const QgemmProblem& p, std::span<const Tensor> in, int threads)
      : p_(p),
        gemm_(dword_tile_set<DwordVnni>(&store_s32_avx512), p.M, p.N, (p.K + 3) / 4, threads),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        w_scale_(padded_copy(in[kQgemmWScale].as<float>(), p.N, kTileColumns)),
        rows_(p.M),
        codes_(threads * kTileRows * p.K),
        amax_(threads) {
    const auto* w = in[kQgemmW].as<std::int8_t>();
    const auto raise = [](std::int8_t code) { return static_cast<std::uint8_t>(code + 128); };
    pack_panels(w, p.N, p.K, kTileColumns, 4, std::uint8_t{128}, raise, w_.data());
    if (has_zero()) {
      column_sum_ = AlignedBuffer<std::int32_t>(gemm_.panels() * kTileColumns);
      for (std::int64_t n = 0; n < p.N; ++n) {
        for (std::int64_t k = 0; k < p.K; ++k) column_sum_[n] += w[n * p.K + k];
      }
    }
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kTileColumns);
    if (p.x_kind == XKind::kS8Static) static_scale_ = in[kQgemmXScale].as<float>()[0];
  }

  void run(const Call& call) override {
    const float scale = p_.x_kind == XKind::kS8Tensor ? tensor_scale(call) : static_scale_;
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      std::int8_t* codes = codes_.data() + thread * kTileRows * p_.K;
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        for (int i = 0; i < strip.rows; ++i) {
          quantize_row(call, strip.row + i, scale, codes + i * p_.K);
        }
        pack_codes(codes, p_.K, p_.K, strip.rows, gemm_.strip_data(s));
      }
    });
    gemm_.multiply(reinterpret_cast<const std::byte*>(w_.data()), epilogue(call), call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes() + column_sum_.bytes();
  }

 private:
  [[nodiscard]] bool has_zero() const {
    return p_.x_kind == XKind::kU8Row || p_.x_dtype == DType::kU8 || p_.has_x_zero;
  }

  float tensor_scale(const Call& call) {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      amax_[thread] = amax_of_rows(call.in[kQgemmX], begin, end);
    });
    float amax = 0;
    for (const float part : amax_.span()) amax = part > amax ? part : amax;
    return scale_of(amax, 127);
  }

  // Codes of row m, and what the epilogue has to know about it.
  void quantize_row(const Call& call, std::int64_t m, float scale, std::int8_t* q) {
    const Tensor& x = call.in[kQgemmX];
    const std::int64_t K = p_.K;
    std::int32_t sum = 0;
    if (p_.x_kind == XKind::kInteger) {
      sum = copy_codes(x, m * K, K, q);
      scale = call.in[kQgemmXScale].as<float>()[m];
      const std::uint32_t zero =
          p_.has_x_zero ? static_cast<std::uint32_t>(call.in[kQgemmXZero].as<std::int32_t>()[m])
                        : 0;
      rows_.zero[m] = static_cast<std::int32_t>(zero - (x.dtype == DType::kU8 ? 128U : 0U));
    } else if (p_.x_kind == XKind::kU8Row) {
      const AffineScale affine = quantize_u8_avx512(x.as<float>() + m * K, K, q, sum);
      scale = affine.scale;
      rows_.zero[m] = affine.zero;
    } else {
      const float* row = x.as<float>() + m * K;
      if (p_.x_kind == XKind::kS8Row) scale = scale_of(amax_avx512(row, K), 127);
      sum = quantize_s8_avx512(row, K, scale, q);
    }
    rows_.scale[m] = scale;
    rows_.start[m] = static_cast<std::int32_t>(0U - 128U * static_cast<std::uint32_t>(sum));
  }

  Epilogue epilogue(const Call& call) {
    Epilogue e;
    e.y = call.out[kQgemmY];
    if (p_.integer_operands()) e.acc = call.out[kQgemmAcc].as<std::int32_t>();
    e.row_scale = rows_.scale.data();
    e.column_scale = w_scale_.data();
    e.bias = bias_.data();
    e.row_start = rows_.start.data();
    if (has_zero()) {
      e.row_zero = rows_.zero.data();
      e.column_sum = column_sum_.data();
    }
    e.activation = p_.activation;
    return e;
  }

  QgemmProblem p_;
  TileGemm gemm_;
  AlignedBuffer<std::uint8_t> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  AlignedBuffer<std::int32_t> column_sum_;
  Int8Rows rows_;
  AlignedBuffer<std::int8_t> codes_;  // of one strip per thread, row-major
  AlignedBuffer<float> amax_;         // per thread
  float static_scale_ = 1;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<VnniQgemm>(QgemmProblem::from(problem), in, pool.size());
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.epilogue_roundings = 3;  // conversion, first scale, second scale with bias
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_vnni",
    .summary = "12x32 tiles of vpdpbusd, x quantized and packed per strip; exact int32",
    .needs = Isa::kAvx512 | Isa::kAvx512Vnni,
    .limits = {{.key = "scheme", .values = {"w8a8", "w8a8_tensor", "w8a8_static", "w8a8_asym"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "vnni_int8",
}};

}  // namespace
}  // namespace pareto
