// int8 products with AVX2, one scale per row of x and of W: the w8a8 family and integer operands.
//
// Idea: x is widened to s16 while it is packed, W stays s8 and is widened on loading; vpmaddwd sums
// pairs exactly into int32. (vpmaddubsw saturates, and the sign trick is wrong for −128.)
// Bottleneck: vpmaddwd at large M; reading W at M ≤ 4.
// Layout: W s8 [panel][⌈K/2⌉][32][2], x strips s16 [⌈K/2⌉][≤ 6][2]; x is quantized by the portable
// functions.
#include <algorithm>
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/int8_rows.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/store_avx2.h"
#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

// strip[⌈K/2⌉][rows][2] s16 from rows of u8 codes, or of s8 codes given as bytes; an odd K ends
// with a zero.
template <bool kSigned>
void pack_pairs(const std::uint8_t* codes, std::int64_t K, int rows, std::int16_t* strip) {
  const auto widen = [](std::uint8_t code) {
    const int value = code;
    return static_cast<std::int16_t>(kSigned ? (value ^ 128) - 128 : value);
  };
  for (std::int64_t k = 0; k < K; k += 2) {
    for (int i = 0; i < rows; ++i) {
      *strip++ = widen(codes[i * K + k]);
      *strip++ = k + 1 < K ? widen(codes[i * K + k + 1]) : std::int16_t{0};
    }
  }
}

class Int8Qgemm : public Prepared {
 public:
  Int8Qgemm(const QgemmProblem& p, std::span<const Tensor> in, int threads)
      : p_(p),
        gemm_(step_tile_set_avx2<Avx2StepS16>(&store_s32_avx2), p.M, p.N, (p.K + 1) / 2, threads),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        w_scale_(padded_copy(in[kQgemmWScale].as<float>(), p.N, kAvx2TileColumns)),
        rows_(p.M),
        codes_(threads * kAvx2TileRows * p.K),
        amax_(threads) {
    const auto* w = in[kQgemmW].as<std::int8_t>();
    const auto same = [](std::int8_t code) { return code; };
    pack_panels(w, p.N, p.K, kAvx2TileColumns, 2, (p.K + 1) / 2, std::int8_t{0}, same, w_.data());
    if (has_zero()) {
      column_sum_ = AlignedBuffer<std::int32_t>(gemm_.panels() * kAvx2TileColumns);
      for (std::int64_t n = 0; n < p.N; ++n) {
        for (std::int64_t k = 0; k < p.K; ++k) column_sum_[n] += w[n * p.K + k];
      }
    }
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kAvx2TileColumns);
    if (p.x_kind == XKind::kS8Static) static_scale_ = in[kQgemmXScale].as<float>()[0];
  }

  void run(const Call& call) override {
    const float scale = p_.x_kind == XKind::kS8Tensor ? tensor_scale(call) : static_scale_;
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      std::uint8_t* codes = codes_.data() + thread * kAvx2TileRows * p_.K;
      for (std::int64_t s = begin; s < end; ++s) pack(call, s, scale, codes);
    });
    gemm_.multiply(reinterpret_cast<const std::byte*>(w_.data()), epilogue(call), call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes() + column_sum_.bytes();
  }

 private:
  [[nodiscard]] bool has_zero() const { return p_.x_kind == XKind::kU8Row || p_.has_x_zero; }

  float tensor_scale(const Call& call) {
    const auto* x = call.in[kQgemmX].as<float>();
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      amax_[thread] = amax_of({x + begin * p_.K, static_cast<std::size_t>((end - begin) * p_.K)});
    });
    return scale_of(amax_of(amax_.span()), 127);
  }

  void pack(const Call& call, std::int64_t s, float scale, std::uint8_t* codes) {
    const TileGemm::Strip strip = gemm_.strip(s);
    auto* packed = reinterpret_cast<std::int16_t*>(gemm_.strip_data(s));
    const std::uint8_t* source = codes;
    if (p_.x_kind == XKind::kInteger) {
      source = call.in[kQgemmX].as<std::uint8_t>() + strip.row * p_.K;
      for (int i = 0; i < strip.rows; ++i) describe_row(call, strip.row + i);
    } else {
      for (int i = 0; i < strip.rows; ++i) {
        quantize_row(call, strip.row + i, scale, codes + i * p_.K);
      }
    }
    const bool is_unsigned = p_.x_kind == XKind::kU8Row || p_.x_dtype == DType::kU8;
    if (is_unsigned) {
      pack_pairs<false>(source, p_.K, strip.rows, packed);
    } else {
      pack_pairs<true>(source, p_.K, strip.rows, packed);
    }
  }

  // Scale and zero point of a row of integer operands.
  void describe_row(const Call& call, std::int64_t m) {
    rows_.scale[m] = call.in[kQgemmXScale].as<float>()[m];
    if (p_.has_x_zero) rows_.zero[m] = call.in[kQgemmXZero].as<std::int32_t>()[m];
  }

  void quantize_row(const Call& call, std::int64_t m, float scale, std::uint8_t* codes) {
    const std::span<const float> x(call.in[kQgemmX].as<float>() + m * p_.K,
                                   static_cast<std::size_t>(p_.K));
    if (p_.x_kind == XKind::kU8Row) {
      const AffineScale affine = quantize_row_u8(x, codes);
      rows_.scale[m] = affine.scale;
      rows_.zero[m] = affine.zero;
      return;
    }
    if (p_.x_kind == XKind::kS8Row) scale = scale_of(amax_of(x), 127);
    quantize_s8(x, scale, reinterpret_cast<std::int8_t*>(codes));
    rows_.scale[m] = scale;
  }

  Epilogue epilogue(const Call& call) {
    Epilogue e;
    e.y = call.out[kQgemmY];
    if (p_.integer_operands()) e.acc = call.out[kQgemmAcc].as<std::int32_t>();
    e.row_scale = rows_.scale.data();
    e.column_scale = w_scale_.data();
    e.bias = bias_.data();
    if (has_zero()) {
      e.row_zero = rows_.zero.data();
      e.column_sum = column_sum_.data();
    }
    e.activation = p_.activation;
    return e;
  }

  QgemmProblem p_;
  TileGemm gemm_;
  AlignedBuffer<std::int8_t> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  AlignedBuffer<std::int32_t> column_sum_;
  Int8Rows rows_;
  AlignedBuffer<std::uint8_t> codes_;  // of one strip per thread, row-major, s8 or u8
  AlignedBuffer<float> amax_;          // per thread
  float static_scale_ = 1;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Int8Qgemm>(QgemmProblem::from(problem), in, pool.size());
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.epilogue_roundings = 3;  // conversion, scale of w, scale of x with bias
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx2_int8",
    .summary = "6x16 tiles of vpmaddwd on widened codes; exact int32",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme", .values = {"w8a8", "w8a8_tensor", "w8a8_static", "w8a8_asym"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "vnni_int8",
}};

}  // namespace
}  // namespace pareto
