// Baseline: PyTorch's int8 weight-only linear layer. Its weights are those of w8a8, but x stays
// fp32, so that against the codes of w8a8 it is wrong by the quantization of x (about 0.6 %): it
// fails the checks, and is timed because nothing else of PyTorch is made for few tokens.
#include <ATen/ops/_weight_int8pack_mm.h>

#include <memory>

#include "harness/variant.h"
#include "kernels/torch_library.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

class TorchInt8Pack : public Prepared {
 public:
  void run(const Call& call) override {
    const TorchScope scope(call.pool.size());
    torch_view(call.out[kQgemmY])
        .copy_(at::_weight_int8pack_mm(torch_view(call.in[kQgemmX]), torch_view(call.in[kQgemmW]),
                                       torch_view(call.in[kQgemmWScale])));
  }
};

std::unique_ptr<Prepared> prepare(const Problem& /*problem*/, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<TorchInt8Pack>();
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
               {.key = "N", .min = 1},
               {.key = "K", .min = 1}},
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .own_threads = true,
    .unit = "fma_fp32",
    .library = TorchScope::name(),
}};

}  // namespace
}  // namespace pareto
