// Baseline: not sparse at all. W is written out as a dense fp32 matrix ahead of time, and sgemm
// multiplies its zeros too: what a sparse kernel has to beat.
#include <algorithm>
#include <memory>

#include "kernels/openblas_library.h"
#include "kernels/plain_epilogue.h"
#include "kernels/sparse/written_out.h"
#include "kernels/widen.h"
#include "reference/sparse.h"
#include "reference/sparse_formats.h"

namespace pareto {
namespace {

class OpenBlasDense : public Prepared {
 public:
  OpenBlasDense(const Problem& problem, std::span<const Tensor> in, ThreadPool& pool)
      : p_(SparseProblem::from(problem)),
        blas_(OpenBlas::get()),
        x_(p_.dtype == DType::kF32 ? 0 : p_.M * p_.K),
        w_(p_.N * p_.K),
        bias_(p_.has_bias ? p_.N : 0) {
    const SparseReader reader(p_, in);
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.N, thread, threads);
      SparseRow row;
      for (std::int64_t n = begin; n < end; ++n) {
        reader.read(n, row);
        for (std::size_t i = 0; i < row.k.size(); ++i) {
          w_[n * p_.K + row.k[i]] = static_cast<float>(row.value[i]);
        }
      }
    });
    if (p_.has_bias) std::copy_n(in[kSparseBias].as<const float>(), p_.N, bias_.data());
  }

  void run(const Call& call) override {
    const Tensor& given = call.in[kSparseX];
    const float* x = p_.dtype == DType::kF32 ? given.as<const float>() : x_.data();
    if (p_.dtype != DType::kF32) {
      call.pool.run([&](int thread, int threads) {
        const auto [begin, end] = share_of(p_.M * p_.K, thread, threads);
        widen(given, begin, end - begin, x_.data() + begin);
      });
    }
    float* y = call.out[kSparseY].as<float>();
    blas_.multiply(p_.M, p_.N, p_.K, x, w_.data(), y, call.pool.size());
    add_bias_and_relu(y, p_.M, p_.N, p_.has_bias ? bias_.data() : nullptr, p_.activation,
                      call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  SparseProblem p_;
  const OpenBlas& blas_;
  AlignedBuffer<float> x_;
  AlignedBuffer<float> w_;
  AlignedBuffer<float> bias_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<OpenBlasDense>(problem, in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = SparseProblem::from(problem).has_bias ? 1 : 0;
  a.multiplies_pruned = true;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "openblas_dense",
    .summary = "not sparse: W written out densely in fp32 ahead of time, then OpenBLAS sgemm",
    .limits = {written_out_formats(),
               {.key = "activation", .values = {"none", "relu"}},
               {.key = "out_dtype", .values = {"fp32"}},
               blas_size("M"),
               blas_size("N"),
               blas_size("K")},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .baseline = true,
    .own_threads = true,
    .unit = "fma_fp32",
    .opens = kOpenBlasSoname,
    .library = OpenBlas::compiled_name(),
}};

}  // namespace
}  // namespace pareto
