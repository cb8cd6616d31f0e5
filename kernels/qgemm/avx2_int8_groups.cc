// Group-wise int8 products with AVX2: x quantized to s8 per group of 32 or 128, W in 4 or 8 bits
// with a scale per group (w4a8_g128, q8_0_a8, q4_0_a8, q4_k_a8).
//
// Idea: as avx512_vnni_groups, with vpmaddwd on codes widened to s16 in registers.
// Bottleneck: vpmaddwd and the widening.
// Layout: group_tile_avx2.h; x is quantized by the portable functions.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "harness/variant.h"
#include "kernels/qgemm/group_tile_avx2.h"
#include "kernels/qgemm/pack_groups.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/store_avx2.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/block_q4_k.h"
#include "reference/qgemm.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

// A scheme's tile set, packing and the number that makes its nibbles unsigned.
struct Format {
  TileSet (*tiles)(StoreFunction) = nullptr;
  void (*pack)(const QgemmProblem&, std::span<const Tensor>, int, std::int64_t, std::byte*,
               ThreadPool&) = nullptr;
  int raise = 0;
  std::int64_t step = 0;  // elements of K
};

Format format_of(WKind kind) {
  using Q8 = PlainGroupsAvx2<32, false>;
  using Q4 = PlainGroupsAvx2<32, true>;
  using Int4 = PlainGroupsAvx2<128, true>;
  switch (kind) {
    case WKind::kQ8Block:
      return {&group_tile_set_avx2<Q8>, &pack_groups<Q8>, 0, 32};
    case WKind::kQ4Block:
      return {&group_tile_set_avx2<Q4>, &pack_groups<Q4>, 8, 32};
    case WKind::kQ4kBlock:
      return {&group_tile_set_avx2<Q4kGroupsAvx2>, &pack_groups<Q4kGroupsAvx2>, 0, kQ4kBlock};
    default:
      return {&group_tile_set_avx2<Int4>, &pack_groups<Int4>, 8, 128};
  }
}

class Int8GroupQgemm : public Prepared {
 public:
  Int8GroupQgemm(const QgemmProblem& p, const Format& format, std::span<const Tensor> in,
                 ThreadPool& pool)
      : p_(p),
        raise_(format.raise),
        gemm_(format.tiles(&store_f32_avx2), p.M, p.N, (p.K + format.step - 1) / format.step,
              pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        groups_((p.K + format.step - 1) / format.step * (format.step / p.x_group)),
        codes_(pool.size() * groups_ * p.x_group),
        scales_(pool.size() * groups_) {
    format.pack(p, in, format.raise, gemm_.panel_bytes(), w_.data(), pool);
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kAvx2TileColumns);
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        for (int i = 0; i < strip.rows; ++i) {
          pack_row(call.in[kQgemmX].as<float>() + (strip.row + i) * p_.K, thread, i, strip.rows,
                   gemm_.strip_data(s));
        }
      }
    });
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    gemm_.multiply(w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  // Row i of a strip: codes in pairs, and behind each group its scale and start.
  void pack_row(const float* x, int thread, int i, int rows, std::byte* strip) {
    std::int8_t* codes = codes_.data() + thread * groups_ * p_.x_group;  // zeros beyond K
    float* scales = scales_.data() + thread * groups_;
    quantize_row_s8_groups({x, static_cast<std::size_t>(p_.K)}, p_.x_group, codes, scales);
    const std::int64_t pairs = p_.x_group / 2;
    std::byte* out = strip + std::int64_t{i} * 4;
    for (std::int64_t g = 0; g < groups_; ++g) {
      std::int32_t sum = 0;
      for (std::int64_t pair = 0; pair < pairs; ++pair, codes += 2, out += std::int64_t{rows} * 4) {
        const std::int16_t both[2] = {codes[0], codes[1]};
        std::memcpy(out, both, sizeof(both));
        sum += codes[0] + codes[1];
      }
      const float scale = g < p_.x_groups() ? scales[g] : 1.0F;
      std::memcpy(out, &scale, sizeof(scale));
      out += std::int64_t{rows} * 4;
      const float scaled_sum = scale * static_cast<float>(sum);
      const std::int32_t start = -raise_ * sum;
      if (p_.w_kind == WKind::kQ4kBlock) {
        std::memcpy(out, &scaled_sum, sizeof(scaled_sum));
      } else {
        std::memcpy(out, &start, sizeof(start));
      }
      out += std::int64_t{rows} * 4;
    }
  }

  QgemmProblem p_;
  int raise_;
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
  std::int64_t groups_;               // as strips have them: super-blocks are full
  AlignedBuffer<std::int8_t> codes_;  // of one row per thread
  AlignedBuffer<float> scales_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return std::make_unique<Int8GroupQgemm>(p, format_of(p.w_kind), in, pool);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.epilogue_roundings = 3;  // scale product, x's scale times its sum (q4_k), bias
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx2_int8_groups",
    .summary = "3x16 tiles of vpmaddwd, codes widened in registers, fp32 sums per group",
    .needs = static_cast<IsaSet>(Isa::kAvx2Fma),
    .limits = {{.key = "scheme", .values = {"w4a8_g128", "q8_0_a8", "q4_0_a8", "q4_k_a8"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "vnni_int8",
}};

}  // namespace
}  // namespace pareto
