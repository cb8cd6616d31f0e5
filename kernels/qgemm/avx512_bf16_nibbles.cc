// bf16 x against 4-bit weights (w4a16, MXFP4, NVFP4) in vdpbf16ps, codes decoded in registers.
//
// Idea: a nibble's value is exact in bf16, so codes become dot operands by one shift and one table
// permutation, and the group's scale is applied to the fp32 sum of the group: nothing is rounded
// that the reference does not round, and W is read at its compressed size.
// Bottleneck: dot units and, at few rows, the decoding of 16 weights per cycle.
// Layout: nibble_tile_avx512.h.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "harness/variant.h"
#include "kernels/qgemm/nibble_tile_avx512.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

// bf16 values of the 16 codes.
constexpr std::uint16_t kInt4Bf16[16] = {0xc100, 0xc0e0, 0xc0c0, 0xc0a0, 0xc080, 0xc040,
                                         0xc000, 0xbf80, 0x0000, 0x3f80, 0x4000, 0x4040,
                                         0x4080, 0x40a0, 0x40c0, 0x40e0};
constexpr std::uint16_t kUInt4Bf16[16] = {0x0000, 0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0,
                                          0x40c0, 0x40e0, 0x4100, 0x4110, 0x4120, 0x4130,
                                          0x4140, 0x4150, 0x4160, 0x4170};
constexpr std::uint16_t kE2m1Bf16[16] = {0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040,
                                         0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80, 0xbfc0,
                                         0xc000, 0xc040, 0xc080, 0xc0c0};

// Geometry of a panel, as the packing needs it.
struct PanelLayout {
  std::int64_t group = 0;
  std::int64_t code_bytes = 0;
  std::int64_t step_bytes = 0;
  std::int64_t extra_dwords = 0;  // of the strips
  DType scale = DType::kF16;
  bool zero = false;
};
template <typename Format>
constexpr PanelLayout layout_of() {
  return {Format::kGroup,       Format::kCodeBytes, Format::kStepBytes,
          Format::kExtraDwords, Format::kScale,     Format::kZero};
}

struct Kernel {
  TileSet (*tiles)(StoreFunction) = nullptr;
  PanelLayout layout;
};

template <typename Format, const std::uint16_t* kTable>
Kernel kernel() {
  return {&nibble_tile_set<Format, kTable>, layout_of<Format>()};
}

Kernel kernel_of(const QgemmProblem& p) {
  switch (p.w_kind) {
    case WKind::kInt4Asym:
      return kernel<NibbleFormat<128, DType::kF16, true>, kUInt4Bf16>();
    case WKind::kMxfp4:
      return kernel<NibbleFormat<32, DType::kBf16, false>, kE2m1Bf16>();
    case WKind::kNvfp4:
      return kernel<NibbleFormat<16, DType::kF16, false>, kE2m1Bf16>();
    default:
      return p.w_group == 32 ? kernel<NibbleFormat<32, DType::kF16, false>, kInt4Bf16>()
                             : kernel<NibbleFormat<128, DType::kF16, false>, kInt4Bf16>();
  }
}

// Scale g of row n in the panel's own type: fp16 as given, E8M0 and E4M3 exactly.
std::uint16_t scale_bits(const QgemmProblem& p, const Tensor& scales, std::int64_t i) {
  switch (p.w_kind) {
    case WKind::kMxfp4:
      return to_bf16(from_e8m0(scales.as<std::uint8_t>()[i]));
    case WKind::kNvfp4:
      return to_fp16(value_at(scales, i));
    default:
      return scales.as<std::uint16_t>()[i];
  }
}

// Row n of W into its panel.
void put_row(const QgemmProblem& p, std::span<const Tensor> in, const PanelLayout& layout,
             std::int64_t n, std::byte* panel) {
  const auto* row = in[kQgemmW].as<std::uint8_t>() + n * p.w_row_bytes();
  const std::int64_t j = n % kTileColumns;
  for (std::int64_t k = 0; k < p.K; ++k) {
    const std::int64_t within = k % layout.group;
    std::byte* step = panel + k / layout.group * layout.step_bytes;
    const auto code = static_cast<std::byte>(k % 2 == 0 ? row[k / 2] & 15U : row[k / 2] >> 4U);
    // Byte 0 and 1 of a dword hold elements 0, 2, 4, 6; bytes 2 and 3 the odd ones.
    const std::int64_t nibble = within % 8 / 2;
    std::byte& target = step[within / 8 * 128 + j * 4 + (within % 2) * 2 + nibble / 2];
    target |= nibble % 2 == 0 ? code : code << 4;
  }
  for (std::int64_t g = 0; g < p.w_groups(); ++g) {
    const std::int64_t i = n * p.w_groups() + g;
    std::byte* scales = panel + g * layout.step_bytes + layout.code_bytes;
    const std::uint16_t scale = scale_bits(p, in[kQgemmWScale], i);
    std::memcpy(scales + j * 2, &scale, sizeof(scale));
    if (!layout.zero) continue;
    const std::uint16_t zero = to_fp16(in[kQgemmWZero].as<std::uint8_t>()[i]);
    std::memcpy(scales + 64 + j * 2, &zero, sizeof(zero));
  }
}

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

// Σ of up to `count` bf16.
float sum_bf16(const std::uint16_t* x, std::int64_t count) {
  __m512 sum = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < count; k += 16) {
    sum = _mm512_add_ps(sum, load_float_avx512(reinterpret_cast<const std::byte*>(x), DType::kBf16,
                                               k, first_lanes(count - k)));
  }
  return _mm512_reduce_add_ps(sum);
}

void pack_strip(const std::uint16_t* x, std::int64_t K, int rows, std::int64_t steps,
                const PanelLayout& layout, std::byte* strip) {
  const DwordRows<2> source{reinterpret_cast<const std::byte*>(x), K * 2, K};
  const std::int64_t dwords = layout.group / 2;
  pack_strip_avx512(source, rows, steps * dwords, {dwords, layout.extra_dwords}, strip);
  if (!layout.zero) return;
  auto* out = reinterpret_cast<float*>(strip);
  for (std::int64_t g = 0; g < steps; ++g) {
    const std::int64_t k = std::min(g * layout.group, K);
    const std::int64_t count = std::min(layout.group, K - k);
    for (int i = 0; i < rows; ++i) {
      out[((g + 1) * (dwords + 1) - 1) * rows + i] = sum_bf16(x + i * K + k, count);
    }
  }
}

#pragma GCC pop_options

class NibbleQgemm : public Prepared {
 public:
  NibbleQgemm(const QgemmProblem& p, const Kernel& kernel, std::span<const Tensor> in,
              ThreadPool& pool)
      : p_(p),
        layout_(kernel.layout),
        steps_((p.K + layout_.group - 1) / layout_.group),
        gemm_(kernel.tiles(&store_f32_avx512), p.M, p.N, steps_, pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()) {
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p.N, thread, threads, kTileColumns);
      for (std::int64_t n = begin; n < end; ++n) {
        put_row(p_, in, layout_, n, w_.data() + n / kTileColumns * gemm_.panel_bytes());
      }
    });
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kTileColumns);
    if (p.w_kind != WKind::kNvfp4) return;
    w_scale_ = AlignedBuffer<float>(gemm_.panels() * kTileColumns);
    std::fill_n(w_scale_.data(), w_scale_.size(), in[kQgemmWTensorScale].as<float>()[0]);
    x_scale_ = AlignedBuffer<float>(p.M);
    std::fill_n(x_scale_.data(), p.M, 1.0F);
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        pack_strip(call.in[kQgemmX].as<std::uint16_t>() + strip.row * p_.K, p_.K, strip.rows,
                   steps_, layout_, gemm_.strip_data(s));
      }
    });
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    epilogue.row_scale = x_scale_.data();
    epilogue.column_scale = w_scale_.data();
    gemm_.multiply(w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes();
  }

 private:
  QgemmProblem p_;
  PanelLayout layout_;
  std::int64_t steps_;
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
  AlignedBuffer<float> w_scale_;  // nvfp4: the tensor's, for the epilogue
  AlignedBuffer<float> x_scale_;  // ones beside it
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return std::make_unique<NibbleQgemm>(p, kernel_of(p), in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  // Joining the chains and the groups' scale, the bias; nvfp4: the scale of the tensor.
  a.epilogue_roundings = p.w_kind == WKind::kNvfp4 ? 5 : 3;
  a.flushes_subnormals = true;
  return a;
}

std::string declines(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  return p.x_dtype == DType::kBf16 ? "" : "dtype " + problem.word("dtype") + ": only bf16";
}

const Registration registration{{
    .op = "qgemm",
    .name = "avx512_bf16_nibbles",
    .summary = "6x32 tiles of vdpbf16ps, 4-bit codes decoded in registers, scales per group",
    .needs = Isa::kAvx512 | Isa::kAvx512Bf16,
    .limits = {{.key = "scheme",
                .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128", "mxfp4", "nvfp4"}}},
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .unit = "dot_bf16",
}};

}  // namespace
}  // namespace pareto
