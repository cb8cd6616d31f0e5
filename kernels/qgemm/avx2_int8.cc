// int8 products with AVX2, one scale per row of x and of W: the w8a8 family and integer operands.
//
// Idea: x is widened to s16 while it is packed, W stays s8; vpmaddwd sums pairs exactly into int32.
// (vpmaddubsw saturates, and the sign trick is wrong for −128.) With few rows W is widened on
// loading; with many, block by block, and half of the multiplications become additions
// (pair_tile_avx2.h).
// Bottleneck: vector additions at large M; reading W at M ≤ 4.
// Layout: W s8 [panel][⌈K/2⌉][32][2], x strips s16 [⌈K/2⌉][≤ 6][2]; with many rows as in
// pair_tile_avx2.h.
#include <algorithm>
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/int8_rows.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/pair_tile_avx2.h"
#include "kernels/qgemm/panel_streams.h"
#include "kernels/qgemm/quantize_avx2.h"
#include "kernels/qgemm/store_avx2.h"
#include "kernels/qgemm/tile_avx2.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

// From so many rows on widening W ahead costs less than the multiplications that it saves.
constexpr std::int64_t kManyRows = 48;

// Panels of pair_tile_avx2.h, and −Σ w0·w1 + w2·w3 of every column, which wraps. `panels` and
// `starts` are zero beforehand; panels are shared out over the threads.
void pack_pairs(const QgemmProblem& p, const std::int8_t* w, std::int64_t panel_bytes,
                std::int8_t* panels, std::int32_t* starts, ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(p.N, thread, threads, kPairColumns);
    for (std::int64_t n = begin; n < end; ++n) {
      std::int8_t* place = panels + n / kPairColumns * panel_bytes + n % kPairColumns * 2;
      std::uint32_t products = 0;
      for (std::int64_t k = 0; k < p.K; ++k) {
        const std::int8_t code = w[n * p.K + k];
        const std::int64_t even = k % 2 == 0 ? 32 : 0;  // behind the odd ones
        place[k / kPairStepK * kPairStoredBytes + even + k % kPairStepK / 2] = code;
        if (even == 0) products += static_cast<std::uint32_t>(code * w[n * p.K + k - 1]);
      }
      starts[n] = static_cast<std::int32_t>(0U - products);
    }
  });
}

class Int8Qgemm : public Prepared {
 public:
  Int8Qgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        pairs_(p.M >= kManyRows),
        steps_(pairs_ ? (p.K + kPairStepK - 1) / kPairStepK : (p.K + 1) / 2),
        gemm_(pairs_ ? pair_tile_set_avx2(&store_s32_avx2<kPairColumns>)
                     : step_tile_set_avx2<Avx2StepS16>(&store_s32_avx2<>),
              p.M, p.N, steps_, pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        w_scale_(padded_copy(in[kQgemmWScale].as<float>(), p.N, kAvx2TileColumns)),
        rows_(p.M),
        padded_K_((p.K + 15) / 16 * 16),
        codes_(pool.size() * kAvx2TileRows * padded_K_),
        amax_(pool.size()) {
    const auto* w = in[kQgemmW].as<std::int8_t>();
    if (pairs_) {
      column_start_ = AlignedBuffer<std::int32_t>(gemm_.panels() * kAvx2TileColumns);
      pack_pairs(p, w, gemm_.panel_bytes(), w_.data(), column_start_.data(), pool);
    } else {
      const auto same = [](std::int8_t code) { return code; };
      pack_panels(w, p.N, p.K, kAvx2TileColumns, 2, steps_, std::int8_t{0}, same, w_.data(), pool);
    }
    if (has_zero()) {
      column_sum_ = AlignedBuffer<std::int32_t>(gemm_.panels() * kAvx2TileColumns);
      sum_rows(w, p.N, p.K, column_sum_.data(), pool);
    }
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kAvx2TileColumns);
    if (p.x_kind == XKind::kS8Static) static_scale_ = in[kQgemmXScale].as<float>()[0];
  }

  void run(const Call& call) override {
    const float scale = p_.x_kind == XKind::kS8Tensor ? tensor_scale(call) : static_scale_;
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      std::int16_t* codes = codes_.data() + thread * kAvx2TileRows * padded_K_;
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        for (int i = 0; i < strip.rows; ++i) describe_row(call, strip.row + i, scale);
        for (int i = 0; i < strip.rows; ++i) {
          encode_row(call, strip.row + i, codes + i * padded_K_);
        }
        pack_codes(codes, strip, s);
      }
    });
    if (p_.M == 1) {
      multiply_one_row(epilogue(call), call.pool);
    } else {
      gemm_.multiply(reinterpret_cast<const std::byte*>(w_.data()), epilogue(call), call.pool);
    }
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes() + column_sum_.bytes() +
           column_start_.bytes();
  }

 private:
  [[nodiscard]] bool has_zero() const { return p_.x_kind == XKind::kU8Row || p_.has_x_zero; }

  float tensor_scale(const Call& call) {
    const auto* x = call.in[kQgemmX].as<float>();
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      amax_[thread] = amax_avx2(x + begin * p_.K, (end - begin) * p_.K);
    });
    return scale_of(*std::max_element(amax_.data(), amax_.data() + amax_.size()), 127);
  }

  // Scale and zero point of row m.
  void describe_row(const Call& call, std::int64_t m, float scale) {
    const auto* x = call.in[kQgemmX].as<float>() + m * p_.K;
    if (p_.x_kind == XKind::kInteger) {
      scale = call.in[kQgemmXScale].as<float>()[m];
      if (p_.has_x_zero) rows_.zero[m] = call.in[kQgemmXZero].as<std::int32_t>()[m];
    } else if (p_.x_kind == XKind::kU8Row) {
      const AffineScale affine = affine_scale_avx2(x, p_.K);
      scale = affine.scale;
      rows_.zero[m] = affine.zero;
    } else if (p_.x_kind == XKind::kS8Row) {
      scale = scale_of(amax_avx2(x, p_.K), 127);
    }
    rows_.scale[m] = scale;
  }

  // Steps of the tile are two codes, or four.
  void pack_codes(std::int16_t* codes, const TileGemm::Strip& strip, std::int64_t s) {
    std::byte* out = gemm_.strip_data(s);
    if (!pairs_) {
      pack_strip(reinterpret_cast<const std::uint32_t*>(codes), padded_K_ / 2, strip.rows, steps_,
                 steps_, reinterpret_cast<std::uint32_t*>(out));
      return;
    }
    for (int i = 0; i < strip.rows; ++i) {
      rows_.start[strip.row + i] = pair_codes_avx2(codes + i * padded_K_, padded_K_);
    }
    pack_strip(reinterpret_cast<const std::uint64_t*>(codes), padded_K_ / 4, strip.rows, steps_,
               steps_, reinterpret_cast<std::uint64_t*>(out));
  }

  // Every thread reads its panels from several places at once.
  void multiply_one_row(const Epilogue& epilogue, ThreadPool& pool) {
    using Step = Avx2StepS16;
    static constexpr decltype(&row_of_panels_avx2<Step, 1>) kFunctions[] = {
        nullptr, &row_of_panels_avx2<Step, 1>, &row_of_panels_avx2<Step, 2>,
        &row_of_panels_avx2<Step, kAvx2RowStreams>};
    const auto* w = reinterpret_cast<const std::byte*>(w_.data());
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.panels(), thread, threads);
      for_panels_apart<kAvx2RowStreams>(begin, end, [&](std::span<const std::int64_t> numbers) {
        const std::byte* panels[kAvx2RowStreams];
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          panels[i] = w + numbers[i] * gemm_.panel_bytes();
        }
        alignas(64) std::byte c[kAvx2RowStreams * kAvx2TileColumns * sizeof(std::int32_t)];
        kFunctions[numbers.size()](gemm_.strip_data(0), panels, steps_, c);
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          const std::int64_t column = numbers[i] * kAvx2TileColumns;
          const auto columns =
              static_cast<int>(std::min<std::int64_t>(kAvx2TileColumns, p_.N - column));
          store_s32_avx2<>(epilogue, {0, column, 1, columns},
                           c + i * kAvx2TileColumns * sizeof(std::int32_t));
        }
      });
    });
  }

  // s16 codes of row m, and zeros beyond K.
  void encode_row(const Call& call, std::int64_t m, std::int16_t* codes) {
    const Tensor& x = call.in[kQgemmX];
    const std::int64_t begin = m * p_.K;
    std::fill(codes + p_.K, codes + padded_K_, std::int16_t{0});
    if (p_.x_kind == XKind::kInteger && x.dtype == DType::kU8) {
      std::copy_n(x.as<std::uint8_t>() + begin, p_.K, codes);
    } else if (p_.x_kind == XKind::kInteger) {
      std::copy_n(x.as<std::int8_t>() + begin, p_.K, codes);
    } else {
      CodeRange range{.scale = rows_.scale[m]};
      if (p_.x_kind == XKind::kU8Row) range = {rows_.scale[m], rows_.zero[m], 0, 255};
      quantize_row_avx2(x.as<float>() + begin, p_.K, range, codes);
    }
  }

  Epilogue epilogue(const Call& call) {
    Epilogue e;
    e.y = call.out[kQgemmY];
    if (p_.integer_operands()) e.acc = call.out[kQgemmAcc].as<std::int32_t>();
    e.row_scale = rows_.scale.data();
    e.column_scale = w_scale_.data();
    e.bias = bias_.data();
    if (pairs_) {
      e.row_start = rows_.start.data();
      e.column_start = column_start_.data();
    }
    if (has_zero()) {
      e.row_zero = rows_.zero.data();
      e.column_sum = column_sum_.data();
    }
    e.activation = p_.activation;
    return e;
  }

  QgemmProblem p_;
  bool pairs_;          // of pair_tile_avx2.h
  std::int64_t steps_;  // of the tile
  TileGemm gemm_;
  AlignedBuffer<std::int8_t> w_;
  AlignedBuffer<float> w_scale_;
  AlignedBuffer<float> bias_;
  AlignedBuffer<std::int32_t> column_sum_;
  AlignedBuffer<std::int32_t> column_start_;
  Int8Rows rows_;
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
    .summary = "4x16 tiles of vpmaddwd on sums of codes (few rows: 6x16 on codes); exact int32",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme", .values = {"w8a8", "w8a8_tensor", "w8a8_static", "w8a8_asym"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "avx2_int8",
}};

}  // namespace
}  // namespace pareto
