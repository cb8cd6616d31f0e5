// int8 products with AVX2, one scale per row of x and of W: the w8a8 family and integer operands.
//
// Idea: W as u8 (128 more than the code), x as s8 whose pairs do not saturate vpmaddubsw; vpmaddwd
// with ones and vpaddd: three instructions for 32 products. What few pairs of x have too much is
// kept apart, its products are added when a tile is finished (pair_excess.h), and so is what the
// 128 were too much. An x with many such pairs is packed as s16 instead, and meets the same panels
// as words. (The sign trick, |x| times w with x's sign, takes four instructions and is wrong for
// −128; so many takes Winograd's inner product.)
// Bottleneck: instructions at large M; reading W at M ≤ 4.
// Layout: W u8 [panel][⌈K/4⌉][16][4], x strips as in byte_tile_avx2.h.
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/byte_store_avx2.h"
#include "kernels/qgemm/byte_tile_avx2.h"
#include "kernels/qgemm/excess_avx2.h"
#include "kernels/qgemm/int8_rows.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/pair_excess.h"
#include "kernels/qgemm/panel_streams.h"
#include "kernels/qgemm/quantize_avx2.h"
#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

constexpr int kRaise = 128;

class Int8Qgemm : public Prepared {
 public:
  Int8Qgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        steps_((p.K + kByteStepK - 1) / kByteStepK),
        bytes_(byte_tile_set_avx2<ByteStepAvx2>(&store_bytes_avx2), p.M, p.N, steps_, pool.size()),
        words_(byte_tile_set_avx2<WordStepAvx2>(&store_bytes_avx2), p.M, p.N, steps_, pool.size()),
        w_(bytes_.panels() * bytes_.panel_bytes()),
        w_scale_(padded_copy(in[kQgemmWScale].as<float>(), p.N, kByteColumns)),
        rows_(p.M),
        excess_(p.M, p.K),
        padded_K_((p.K + 15) / 16 * 16),
        codes_(pool.size() * kAvx2TileRows * padded_K_),
        amax_(pool.size()) {
    const auto* w = in[kQgemmW].as<std::int8_t>();
    const auto raise = [](std::int8_t code) { return static_cast<std::uint8_t>(code + kRaise); };
    pack_panels(w, p.N, p.K, kByteColumns, kByteStepK, steps_, std::uint8_t{kRaise}, raise,
                w_.data(), pool);
    if (has_zero()) {
      column_sum_ = AlignedBuffer<std::int32_t>(bytes_.panels() * kByteColumns);
      sum_rows(w, p.N, p.K, column_sum_.data(), pool);
    }
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kByteColumns);
    if (p.x_kind == XKind::kS8Static) static_scale_ = in[kQgemmXScale].as<float>()[0];
  }

  void run(const Call& call) override {
    if (!pack_bytes(call)) {
      pack_words(call);
      Epilogue whole = epilogue(call);
      whole.excess = nullptr;
      words_.multiply(panels(), whole, call.pool);
    } else if (bytes_.strips() == 1) {
      multiply_one_strip(epilogue(call), call.pool);
    } else {
      bytes_.multiply(panels(), epilogue(call), call.pool);
    }
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes() + column_sum_.bytes();
  }

 private:
  [[nodiscard]] bool has_zero() const {
    return p_.x_kind == XKind::kU8Row || p_.x_dtype == DType::kU8 || p_.has_x_zero;
  }
  [[nodiscard]] const std::byte* panels() const {
    return reinterpret_cast<const std::byte*>(w_.data());
  }

  float tensor_scale(const Call& call) {
    const auto* x = call.in[kQgemmX].as<float>();
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      amax_[thread] = amax_avx2(x + begin * p_.K, (end - begin) * p_.K);
    });
    return scale_of(*std::max_element(amax_.data(), amax_.data() + amax_.size()), 127);
  }

  // Describes and encodes all rows, and packs strips of s8; false once a row has too much excess.
  bool pack_bytes(const Call& call) {
    const float scale = p_.x_kind == XKind::kS8Tensor ? tensor_scale(call) : static_scale_;
    std::atomic<bool> fits = true;
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(bytes_.strips(), thread, threads);
      std::int16_t* codes = codes_.data() + thread * kAvx2TileRows * padded_K_;
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = bytes_.strip(s);
        for (int i = 0; i < strip.rows; ++i) describe_row(call, strip.row + i, scale);
        auto* out = reinterpret_cast<std::uint32_t*>(bytes_.strip_data(s));
        for (int i = 0; i < strip.rows; ++i) {
          const std::int64_t m = strip.row + i;
          encode_row(call, m, codes);
          const PackedRow row = pack_row_avx2(m, codes, steps_, excess_, {out + i, strip.rows});
          if (!row.fits) fits = false;
          // Wraps in two's complement, as the sums that it puts right.
          rows_.start[m] = static_cast<std::int32_t>(0U - std::uint32_t{kRaise} *
                                                              static_cast<std::uint32_t>(row.sum));
        }
      }
    });
    return fits;
  }

  // Encodes all rows, and packs strips of s16.
  void pack_words(const Call& call) {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(words_.strips(), thread, threads);
      std::int16_t* codes = codes_.data() + thread * kAvx2TileRows * padded_K_;
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = words_.strip(s);
        for (int i = 0; i < strip.rows; ++i) {
          encode_row(call, strip.row + i, codes + i * padded_K_);
          part_codes_avx2(codes + i * padded_K_, padded_K_);
        }
        pack_strip(reinterpret_cast<const std::uint64_t*>(codes), padded_K_ / 4, strip.rows, steps_,
                   steps_, reinterpret_cast<std::uint64_t*>(words_.strip_data(s)));
      }
    });
  }

  // Scale and zero point of row m, as packed.
  void describe_row(const Call& call, std::int64_t m, float scale) {
    const Tensor& x = call.in[kQgemmX];
    if (p_.x_kind == XKind::kInteger) {
      scale = call.in[kQgemmXScale].as<float>()[m];
      const std::uint32_t zero =
          p_.has_x_zero ? static_cast<std::uint32_t>(call.in[kQgemmXZero].as<std::int32_t>()[m])
                        : 0;
      rows_.zero[m] = static_cast<std::int32_t>(zero - (x.dtype == DType::kU8 ? 128U : 0U));
    } else if (p_.x_kind == XKind::kU8Row) {
      const AffineScale affine = affine_scale_avx2(x.as<float>() + m * p_.K, p_.K);
      scale = affine.scale;
      rows_.zero[m] = affine.zero - 128;
    } else if (p_.x_kind == XKind::kS8Row) {
      scale = scale_of(amax_avx2(x.as<float>() + m * p_.K, p_.K), 127);
    }
    rows_.scale[m] = scale;
  }

  // Codes of row m, −128 … 127, and zeros beyond K.
  void encode_row(const Call& call, std::int64_t m, std::int16_t* codes) {
    const Tensor& x = call.in[kQgemmX];
    const std::int64_t begin = m * p_.K;
    std::fill(codes + p_.K, codes + padded_K_, std::int16_t{0});
    if (p_.x_kind == XKind::kInteger && x.dtype == DType::kU8) {
      const auto* from = x.as<std::uint8_t>() + begin;
      std::transform(from, from + p_.K, codes,
                     [](std::uint8_t code) { return static_cast<std::int16_t>(code - 128); });
    } else if (p_.x_kind == XKind::kInteger) {
      std::copy_n(x.as<std::int8_t>() + begin, p_.K, codes);
    } else {
      CodeRange range{.scale = rows_.scale[m]};
      if (p_.x_kind == XKind::kU8Row) range = {rows_.scale[m], rows_.zero[m], -128, 127};
      quantize_row_avx2(x.as<float>() + begin, p_.K, range, codes);
    }
  }

  // Every thread reads its panels from several places at once.
  void multiply_one_strip(const Epilogue& epilogue, ThreadPool& pool) {
    const auto rows = static_cast<int>(p_.M);
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(bytes_.panels(), thread, threads);
      for_panels_apart<kByteStreams>(begin, end, [&](std::span<const std::int64_t> numbers) {
        const std::byte* from[kByteStreams];
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          from[i] = panels() + numbers[i] * bytes_.panel_bytes();
        }
        alignas(64) std::byte c[kByteStreams * kAvx2TileRows * kByteSumBytes];
        strip_of_panels_avx2(bytes_.strip_data(0), rows, {from, numbers.size()}, steps_, c);
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          const std::int64_t column = numbers[i] * kByteColumns;
          const auto columns =
              static_cast<int>(std::min<std::int64_t>(kByteColumns, p_.N - column));
          store_bytes_avx2(epilogue, {0, column, rows, columns}, c + i * rows * kByteSumBytes);
        }
      });
    });
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
    e.excess = &excess_;
    e.panels = panels();
    e.panel_bytes = bytes_.panel_bytes();
    e.activation = p_.activation;
    return e;
  }

  QgemmProblem p_;
  std::int64_t steps_;
  TileGemm bytes_;
  TileGemm words_;
  AlignedBuffer<std::uint8_t> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  AlignedBuffer<std::int32_t> column_sum_;
  Int8Rows rows_;
  PairExcess excess_;
  std::int64_t padded_K_;              // to whole vectors of codes
  AlignedBuffer<std::int16_t> codes_;  // of one strip per thread, row-major
  AlignedBuffer<float> amax_;          // per thread
  float static_scale_ = 1;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<Int8Qgemm>(QgemmProblem::from(problem), in, pool);
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
    .summary =
        "6x16 tiles of vpmaddubsw on pairs that fit, others apart (or vpmaddwd); exact int32",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme", .values = {"w8a8", "w8a8_tensor", "w8a8_static", "w8a8_asym"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "avx2_int8",
}};

}  // namespace
}  // namespace pareto
