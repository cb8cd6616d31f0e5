// Baseline: OpenBLAS sgemm (sgemv for one row), bias and ReLU in a pass of their own.
#include <memory>

#include "kernels/openblas_library.h"
#include "kernels/plain_epilogue.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

class OpenBlasFp32 : public Prepared {
 public:
  explicit OpenBlasFp32(const Problem& problem)
      : p_(QgemmProblem::from(problem)), blas_(OpenBlas::get()) {}

  void run(const Call& call) override {
    float* y = call.out[kQgemmY].as<float>();
    blas_.multiply(p_.M, p_.N, p_.K, call.in[kQgemmX].as<const float>(),
                   call.in[kQgemmW].as<const float>(), y, call.pool.size());
    add_bias_and_relu(y, p_.M, p_.N, call.in[kQgemmBias].as<const float>(), p_.activation,
                      call.pool);
  }

 private:
  QgemmProblem p_;
  const OpenBlas& blas_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<OpenBlasFp32>(problem);
}

// One chain of FMAs is the longest that its kernels have.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "openblas_fp32",
    .summary = "OpenBLAS sgemm",
    .limits = {{.key = "scheme", .values = {"fp32"}},
               {.key = "operands", .values = {"float"}},
               {.key = "activation", .values = {"none", "relu"}},
               {.key = "out_dtype", .values = {"fp32"}},
               blas_size("M"),
               blas_size("N"),
               blas_size("K")},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .own_threads = true,
    .unit = "fma_fp32",
    .opens = kOpenBlasSoname,
    .library = OpenBlas::compiled_name(),
}};

}  // namespace
}  // namespace pareto
