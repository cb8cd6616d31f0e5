// w8a8 and integer operands on a machine with AVX-512: what is common to the kernels that multiply
// dwords of int8. They differ in their tiles, in the number that W's codes are raised by, and in
// how a strip is laid out.
#pragma once

#include <algorithm>
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/int8_rows.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/quantize_avx512.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {

/// `Kernel` gives: kPerStep (elements of K), kStepDwords, kRaise (added to W's codes: 128 makes
/// them unsigned), and Gemm with gemm(store, problem, steps, threads), whose strips hold 64 codes
/// of each row side by side, kRowStride bytes from row to row.
template <typename Kernel>
class Int8Qgemm : public Prepared {
 public:
  Int8Qgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        steps_((p.K + Kernel::kPerStep - 1) / Kernel::kPerStep),
        gemm_(Kernel::gemm(&store_s32_avx512, p, steps_, pool.size())),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        w_scale_(padded_copy(in[kQgemmWScale].as<float>(), p.N, kStoreColumns)),
        rows_(p.M),
        amax_(pool.size()) {
    const auto* w = in[kQgemmW].as<std::int8_t>();
    const auto raise = [](std::int8_t code) {
      return static_cast<std::uint8_t>(code + Kernel::kRaise);
    };
    pack_panels(w, p.N, p.K, kStoreColumns, 4, gemm_.panel_steps() * Kernel::kStepDwords,
                std::uint8_t{Kernel::kRaise}, raise, w_.data(), pool);
    if (has_zero()) {
      column_sum_ = AlignedBuffer<std::int32_t>(gemm_.panels() * kStoreColumns);
      sum_rows(w, p.N, p.K, column_sum_.data(), pool);
    }
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kStoreColumns);
    if (p.x_kind == XKind::kS8Static) static_scale_ = in[kQgemmXScale].as<float>()[0];
  }

  void run(const Call& call) override {
    const float scale = p_.x_kind == XKind::kS8Tensor ? tensor_scale(call) : static_scale_;
    gemm_.fill_and_multiply(
        reinterpret_cast<const std::byte*>(w_.data()), epilogue(call), call.pool, nullptr,
        [&](const TileGemm::Strip& strip, int /*thread*/, std::byte* out) {
          quantize_strip(call, strip, scale, reinterpret_cast<std::int8_t*>(out));
        });
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes() + column_sum_.bytes();
  }

 private:
  [[nodiscard]] bool has_zero() const {
    return p_.x_kind == XKind::kU8Row || p_.x_dtype == DType::kU8 || p_.has_x_zero;
  }

  float tensor_scale(const Call& call) {
    const auto* x = call.in[kQgemmX].as<float>();
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      amax_[thread] = amax_avx512(x + begin * p_.K, (end - begin) * p_.K);
    });
    return scale_of(*std::max_element(amax_.data(), amax_.data() + amax_.size()), 127);
  }

  void quantize_strip(const Call& call, const TileGemm::Strip& strip, float scale,
                      std::int8_t* codes) {
    // All scales first: from the largest magnitude of a row to its first code is a chain of some
    // 100 cycles, as long as the rest of a row of 384.
    for (int i = 0; i < strip.rows; ++i) describe_row(call, strip.row + i, scale);
    for (int i = 0; i < strip.rows; ++i) {
      encode_row(call, strip.row + i, codes + i * Kernel::kRowStride, gemm_.chunk_stride(strip));
    }
  }

  // Scale and zero point of row m, as packed.
  void describe_row(const Call& call, std::int64_t m, float scale) {
    const Tensor& x = call.in[kQgemmX];
    const std::int64_t K = p_.K;
    if (p_.x_kind == XKind::kInteger) {
      scale = call.in[kQgemmXScale].as<float>()[m];
      const std::uint32_t zero =
          p_.has_x_zero ? static_cast<std::uint32_t>(call.in[kQgemmXZero].as<std::int32_t>()[m])
                        : 0;
      rows_.zero[m] = static_cast<std::int32_t>(zero - (x.dtype == DType::kU8 ? 128U : 0U));
    } else if (p_.x_kind == XKind::kU8Row) {
      const AffineScale affine = affine_scale_avx512(x.as<float>() + m * K, K);
      scale = affine.scale;
      rows_.zero[m] = affine.zero - 128;
    } else if (p_.x_kind == XKind::kS8Row) {
      scale = scale_of(amax_avx512(x.as<float>() + m * K, K), 127);
    }
    rows_.scale[m] = scale;
  }

  // Codes of row m, every 64 of them `stride` after the 64 before.
  void encode_row(const Call& call, std::int64_t m, std::int8_t* q, std::int64_t stride) {
    const Tensor& x = call.in[kQgemmX];
    const std::int64_t K = p_.K;
    const float scale = rows_.scale[m];
    std::int32_t sum = 0;
    if (p_.x_kind == XKind::kInteger) {
      sum = copy_codes_avx512(x, m * K, K, q, stride);
    } else if (p_.x_kind == XKind::kU8Row) {
      sum = quantize_u8_avx512(x.as<float>() + m * K, K, {scale, rows_.zero[m] + 128}, q, stride);
    } else if (p_.x_kind == XKind::kS8Static) {
      sum = quantize_s8_avx512<true>(x.as<float>() + m * K, K, scale, q, stride);
    } else {
      sum = quantize_s8_avx512(x.as<float>() + m * K, K, scale, q, stride);
    }
    // Wraps in two's complement, as the sums that it puts right.
    rows_.start[m] = static_cast<std::int32_t>(0U - std::uint32_t{Kernel::kRaise} *
                                                        static_cast<std::uint32_t>(sum));
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
  std::int64_t steps_;
  typename Kernel::Gemm gemm_;
  AlignedBuffer<std::uint8_t> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  AlignedBuffer<std::int32_t> column_sum_;
  Int8Rows rows_;
  AlignedBuffer<float> amax_;  // per thread
  float static_scale_ = 1;
};

/// The arithmetic of all of them.
inline Arithmetic int8_arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.epilogue_roundings = 3;  // conversion, scale of w, scale of x with bias
  return a;
}

}  // namespace pareto
