// Baseline: not sparse at all. W is written out as a dense bf16 matrix ahead of time, and oneDNN
// multiplies its zeros too: what a sparse kernel with 16-bit weights has to beat.
#include <memory>

#include "harness/variant.h"
#include "kernels/onednn_linear.h"
#include "kernels/sparse/written_out.h"
#include "reference/number_formats.h"
#include "reference/sparse.h"
#include "reference/sparse_formats.h"

namespace pareto {
namespace {

AlignedBuffer<std::uint16_t> written_out_bf16(const SparseProblem& p, std::span<const Tensor> in,
                                              ThreadPool& pool) {
  AlignedBuffer<std::uint16_t> w(p.N * p.K);
  const SparseReader reader(p, in);
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(p.N, thread, threads);
    SparseRow row;
    for (std::int64_t n = begin; n < end; ++n) {
      reader.read(n, row);
      for (std::size_t i = 0; i < row.k.size(); ++i) w[n * p.K + row.k[i]] = to_bf16(row.value[i]);
    }
  });
  return w;
}

class OneDnnDenseBf16 : public Prepared {
 public:
  OneDnnDenseBf16(const SparseProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : linear_({.M = p.M,
                 .N = p.N,
                 .K = p.K,
                 .dtype = DType::kBf16,
                 .out = p.out_dtype,
                 .activation = p.activation},
                written_out_bf16(p, in, pool).data(), in[kSparseBias].as<const float>(),
                pool.size()) {}

  void run(const Call& call) override {
    linear_.run(call.in[kSparseX].data, call.out[kSparseY].data, call.pool.size());
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return linear_.packed_bytes(); }

 private:
  OneDnnLinear linear_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<OneDnnDenseBf16>(SparseProblem::from(problem), in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  a.flushes_subnormals = true;
  a.multiplies_pruned = true;
  a.relu_drops_nan = true;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "onednn_dense_bf16",
    .summary = "not sparse: W written out densely in bf16 ahead of time, then oneDNN matmul",
    .needs = static_cast<IsaSet>(Isa::kAvx512),
    .limits = {written_out_formats(),
               {.key = "dtype", .values = {"bf16"}},
               {.key = "out_dtype", .values = {"fp32", "bf16"}},
               {.key = "M", .min = 1},
               {.key = "N", .min = 1},
               {.key = "K", .min = 1}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "dot_bf16",
    .library = OneDnn::name(),
}};

}  // namespace
}  // namespace pareto
