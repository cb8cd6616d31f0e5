// Baseline: PyTorch's int4 weight-only linear layer for CPUs. It dequantizes to
// (code − 8)·scale + zero with scale and zero in the type of x, and returns that type; an fp32 y is
// that, widened.
#include <ATen/ops/_convert_weight_to_int4pack_for_cpu.h>
#include <ATen/ops/_weight_int4pack_mm_for_cpu.h>
#include <ATen/ops/empty.h>

#include <memory>
#include <string>

#include "harness/errors.h"
#include "harness/variant.h"
#include "kernels/torch_library.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

constexpr std::int64_t kInnerKTiles = 2;  // a parameter that CPUs do not use

// One code per int32, as the library's packer wants them.
at::Tensor codes_of(const QgemmProblem& p, const Tensor& w) {
  at::Tensor codes = at::empty({p.N, p.K}, at::kInt);
  auto* out = codes.mutable_data_ptr<std::int32_t>();
  for (std::int64_t n = 0; n < p.N; ++n) {
    const auto* row = w.as<const std::uint8_t>() + n * p.w_row_bytes();
    for (std::int64_t k = 0; k < p.K; ++k) {
      out[n * p.K + k] = k % 2 == 0 ? row[k / 2] & 15 : row[k / 2] >> 4;
    }
  }
  return codes;
}

// [groups, N, 2]: the scale, and what 8·scale less the zero point's share leaves.
at::Tensor scales_and_zeros(const QgemmProblem& p, std::span<const Tensor> in,
                            at::ScalarType type) {
  const std::int64_t groups = p.w_groups();
  at::Tensor table = at::empty({groups, p.N, 2}, at::kFloat);
  auto* out = table.mutable_data_ptr<float>();
  const auto* scales = in[kQgemmWScale].as<const std::uint16_t>();
  const auto* zeros = in[kQgemmWZero].as<const std::uint8_t>();
  for (std::int64_t n = 0; n < p.N; ++n) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const auto scale = static_cast<float>(from_fp16(scales[n * groups + g]));
      const int zero = zeros == nullptr ? 8 : zeros[n * groups + g];
      out[(g * p.N + n) * 2] = scale;
      out[(g * p.N + n) * 2 + 1] = static_cast<float>(8 - zero) * scale;
    }
  }
  return table.to(type);
}

class TorchInt4Pack : public Prepared {
 public:
  TorchInt4Pack(const QgemmProblem& p, std::span<const Tensor> in)
      : group_(p.w_group),
        w_(at::_convert_weight_to_int4pack_for_cpu(codes_of(p, in[kQgemmW]), kInnerKTiles)),
        scales_(scales_and_zeros(p, in, torch_type(p.x_dtype))) {}

  void run(const Call& call) override {
    const TorchScope scope(call.pool.size());
    torch_view(call.out[kQgemmY])
        .copy_(at::_weight_int4pack_mm_for_cpu(torch_view(call.in[kQgemmX]), w_, group_, scales_));
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.nbytes() + scales_.nbytes(); }

 private:
  std::int64_t group_;
  at::Tensor w_;
  at::Tensor scales_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const QgemmProblem p = QgemmProblem::from(problem);
  if (p.K % p.w_group != 0) {
    throw CannotRunError("K must be a multiple of the group of " + std::to_string(p.w_group));
  }
  const TorchScope scope(pool.size());
  return std::make_unique<TorchInt4Pack>(p, in);
}

// Scale and dequantized weight are rounded to the type of x, the result too (2^16 or 2^13 roundings
// of fp32 if y is fp32). The rounded zero of asymmetric groups is an error of the group's scale,
// not of the weight: small weights may fail the bound.
Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  const bool bf16 = p.x_dtype == DType::kBf16;
  Arithmetic a;
  a.u_operand = bf16 ? 2 * kUBf16 : kUFp16;
  if (p.out_dtype == DType::kF32) a.epilogue_roundings = bf16 ? 1 << 16 : 1 << 13;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "torch_int4pack",
    .summary = "PyTorch _weight_int4pack_mm_for_cpu; fp32 results pass the type of x",
    .limits = {{.key = "scheme", .values = {"w4a16_g128", "w4a16_g32", "w4a16_asym_g128"}},
               {.key = "operands", .values = {"float"}},
               {.key = "bias", .values = {"none"}},
               {.key = "activation", .values = {"none"}},
               {.key = "out_dtype", .values = {"fp32", "bf16", "fp16"}},
               {.key = "M", .min = 1},
               {.key = "N", .min = 16, .multiple_of = 16},
               {.key = "K", .min = 32, .multiple_of = 32}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "fma_fp32",
    .library = TorchScope::name(),
}};

}  // namespace
}  // namespace pareto
