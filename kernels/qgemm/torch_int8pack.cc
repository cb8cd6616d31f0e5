// Baseline: PyTorch's int8 weight-only linear layer in bf16, its type with a fast kernel. Its
// weights are those of w8a8, but x is rounded to bf16 and not quantized, so that against the codes
// of w8a8 it is wrong by the quantization of x (about 0.8 %): it fails the checks, and is timed
// because nothing else of PyTorch is made for int8 weights and few tokens.
#include <ATen/ops/_weight_int8pack_mm.h>

#include <memory>

#include "harness/variant.h"
#include "kernels/torch_library.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

class TorchInt8Pack : public Prepared {
 public:
  explicit TorchInt8Pack(std::span<const Tensor> in)
      : w_(torch_view(in[kQgemmW]).clone()),
        scale_(torch_view(in[kQgemmWScale]).to(at::kBFloat16)) {}

  void run(const Call& call) override {
    const TorchScope scope(call.pool.size());
    const at::Tensor x = torch_view(call.in[kQgemmX]).to(at::kBFloat16);
    torch_view(call.out[kQgemmY]).copy_(at::_weight_int8pack_mm(x, w_, scale_));
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.nbytes() + scale_.nbytes(); }

 private:
  at::Tensor w_;
  at::Tensor scale_;
};

std::unique_ptr<Prepared> prepare(const Problem& /*problem*/, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  const TorchScope scope(pool.size());
  return std::make_unique<TorchInt8Pack>(in);
}

const Registration registration{{
    .op = "qgemm",
    .name = "torch_int8pack",
    .summary = "PyTorch _weight_int8pack_mm: int8 weights, x not quantized (fails w8a8's checks)",
    .limits = {{.key = "scheme", .values = {"w8a8"}},
               {.key = "operands", .values = {"float"}},
               {.key = "bias", .values = {"none"}},
               {.key = "activation", .values = {"none"}},
               {.key = "out_dtype", .values = {"fp32"}},
               {.key = "M", .min = 1},
               {.key = "N", .min = 32, .multiple_of = 32},
               {.key = "K", .min = 32, .multiple_of = 32}},
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "fma_fp32",
    .library = TorchScope::name(),
}};

}  // namespace
}  // namespace pareto
