// Group-wise int8 products with AVX-512 VNNI: x quantized to s8 per group of 32 or 128, W in 4 or 8
// bits with a scale per group (w4a8_g128, q8_0_a8, q4_0_a8, q4_k_a8).
//
// Idea: weights stay packed until they are in a register. A group's int32 sum starts at
// −offset·Σx, so that W's codes are unsigned and need no further correction, and ends with one
// conversion and one FMA into the fp32 sums.
// Bottleneck: VNNI units, shared with the nibble unpacking and, at groups of 32, the scaling.
// Layout: group_tile_avx512.h; W is one stream of codes and scales per panel of 32 columns.
#include <algorithm>
#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/group_tile_avx512.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/qgemm/pack_groups.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/quantize_avx512.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

// Quantizes rows of x group by group into `codes` (stride K rounded up to groups, zeros there) and
// writes scales and starts behind each group of the strip.
struct GroupQuantizer {
  std::int64_t K = 0;
  std::int64_t group = 0;
  std::int64_t groups = 0;  // as the strip has them: super-blocks are full
  int raise = 0;            // what was added to W's codes
  bool minima = false;

  void quantize_row(const float* x, int i, int rows, std::int8_t* codes, std::byte* strip) const {
    const std::int64_t step_dwords = (group / 4 + kGroupExtraDwords) * rows;
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t begin = std::min(g * group, K);
      const std::int64_t count = std::min(K - begin, group);
      const float scale = scale_of(amax_avx512(x + begin, count), 127);
      const std::int32_t sum = quantize_s8_avx512(x + begin, count, scale, codes + begin);
      auto* extra = reinterpret_cast<float*>(strip) + g * step_dwords + group / 4 * rows;
      extra[i] = scale;
      if (minima) {
        extra[rows + i] = scale * static_cast<float>(sum);
      } else {
        reinterpret_cast<std::int32_t*>(extra)[rows + i] = -raise * sum;
      }
    }
  }

  void pack(const float* x, int rows, std::int8_t* codes, std::byte* strip) const {
    const std::int64_t padded = groups * group;
    for (int i = 0; i < rows; ++i) quantize_row(x + i * K, i, rows, codes + i * padded, strip);
    const DwordRows<1> source{reinterpret_cast<const std::byte*>(codes), padded, padded};
    pack_strip_avx512(source, rows, padded / 4, {group / 4, kGroupExtraDwords}, strip);
  }
};

#pragma GCC pop_options

// A scheme's tile set, packing and the number that makes its codes unsigned.
struct Format {
  TileSet (*tiles)(StoreFunction) = nullptr;
  void (*pack)(const QgemmProblem&, std::span<const Tensor>, int, std::int64_t, std::byte*,
               ThreadPool&) = nullptr;
  int raise = 0;
  std::int64_t step = 0;  // elements of K
};

Format format_of(WKind kind) {
  using Q8 = PlainGroupsAvx512<32, false>;
  using Q4 = PlainGroupsAvx512<32, true>;
  using Int4 = PlainGroupsAvx512<128, true>;
  switch (kind) {
    case WKind::kQ8Block:
      return {&group_tile_set<Q8>, &pack_groups<Q8>, 128, 32};
    case WKind::kQ4Block:
      return {&group_tile_set<Q4>, &pack_groups<Q4>, 8, 32};
    case WKind::kQ4kBlock:
      return {&group_tile_set<Q4kGroupsAvx512>, &pack_groups<Q4kGroupsAvx512>, 0, kQ4kBlock};
    default:
      return {&group_tile_set<Int4>, &pack_groups<Int4>, 8, 128};
  }
}

class VnniGroupQgemm : public Prepared {
 public:
  VnniGroupQgemm(const QgemmProblem& p, const Format& format, std::span<const Tensor> in,
                 ThreadPool& pool)
      : p_(p),
        gemm_(format.tiles(&store_f32_avx512), p.M, p.N, (p.K + format.step - 1) / format.step,
              pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()) {
    quantizer_.K = p.K;
    quantizer_.group = p.x_group;
    quantizer_.groups = (p.K + format.step - 1) / format.step * (format.step / p.x_group);
    quantizer_.raise = format.raise;
    quantizer_.minima = p.w_kind == WKind::kQ4kBlock;
    code_bytes_ = kGroupTileRows * quantizer_.groups * p.x_group;
    codes_ = AlignedBuffer<std::int8_t>(pool.size() * code_bytes_);
    format.pack(p, in, format.raise, gemm_.panel_bytes(), w_.data(), pool);
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kTileColumns);
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        quantizer_.pack(call.in[kQgemmX].as<float>() + strip.row * p_.K, strip.rows,
                        codes_.data() + thread * code_bytes_, gemm_.strip_data(s));
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
  QgemmProblem p_;
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
  GroupQuantizer quantizer_;
  std::int64_t code_bytes_ = 0;       // of one strip
  AlignedBuffer<std::int8_t> codes_;  // of one strip per thread, row-major
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return std::make_unique<VnniGroupQgemm>(p, format_of(p.w_kind), in, pool);
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.epilogue_roundings = 3;  // scale product, x's scale times its sum (q4_k), bias
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_vnni_groups",
    .summary = "6x32 tiles of vpdpbusd, nibbles unpacked in registers, fp32 sums per group",
    .needs = Isa::kAvx512 | Isa::kAvx512Vnni,
    .limits = {{.key = "scheme", .values = {"w4a8_g128", "q8_0_a8", "q4_0_a8", "q4_k_a8"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "vnni_int8",
}};

}  // namespace
}  // namespace pareto
