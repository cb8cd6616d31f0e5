// Baseline: what a compressed layer costs when it is decompressed once and then run as fp32. W is
// decoded to fp32 ahead of time, x is quantized by each call as the scheme says, sgemm does the
// rest.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "harness/isa.h"
#include "kernels/openblas_library.h"
#include "kernels/plain_epilogue.h"
#include "kernels/qgemm/decoded_w.h"
#include "kernels/qgemm/rows_avx2.h"
#include "kernels/widen.h"
#include "reference/qgemm_operands.h"

namespace pareto {
namespace {

class OpenBlasDequant : public Prepared {
 public:
  OpenBlasDequant(const Problem& problem, std::span<const Tensor> in, ThreadPool& pool)
      : p_(QgemmProblem::from(problem)),
        blas_(OpenBlas::get()),
        as_given_(p_.x_kind == XKind::kFloat && p_.x_dtype == DType::kF32),
        x_(as_given_ ? 0 : p_.M * p_.K),
        w_(decoded_w(p_, in, pool)),
        bias_(p_.has_bias ? p_.N : 0),
        rows_(pool.size()),
        amax_(pool.size()) {
    if (p_.has_bias) std::copy_n(in[kQgemmBias].as<const float>(), p_.N, bias_.data());
    if (p_.x_kind == XKind::kFloat) return;
    for (AlignedBuffer<double>& row : rows_) row = AlignedBuffer<double>(p_.K);
    // Static scales are persistent, the others are not: their slot is absent here.
    if (in[kQgemmXScale].present()) x_scale_ = in[kQgemmXScale].as<const float>()[0];
  }

  void run(const Call& call) override {
    const float* x = as_given_ ? call.in[kQgemmX].as<const float>() : x_.data();
    if (!as_given_) decode_x(call);
    float* y = call.out[kQgemmY].as<float>();
    blas_.multiply(p_.M, p_.N, p_.K, x, w_.data(), y, call.pool.size());
    add_bias_and_relu(y, p_.M, p_.N, p_.has_bias ? bias_.data() : nullptr, p_.activation,
                      call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  void decode_x(const Call& call) {
    if (p_.x_kind == XKind::kFloat) {
      call.pool.run([&](int thread, int threads) {
        const auto [begin, end] = share_of(p_.M * p_.K, thread, threads);
        widen(call.in[kQgemmX], begin, end - begin, x_.data() + begin);
      });
      return;
    }
    if ((isa_here() & static_cast<IsaSet>(Isa::kAvx2Fma)) != 0) return decode_in_vectors(call);
    const float tensor_scale =
        p_.x_kind == XKind::kS8Static ? x_scale_ : x_tensor_scale(p_, call.in);
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      for (std::int64_t m = begin; m < end; ++m) {
        double* row = rows_[thread].data();
        decode_x_row(p_, call.in, m, tensor_scale, row);
        std::copy_n(row, p_.K, x_.data() + m * p_.K);
      }
    });
  }

  // As our own kernels do, so that a comparison is about the product.
  void decode_in_vectors(const Call& call) {
    const float* x = call.in[kQgemmX].as<const float>();
    float scale = x_scale_;
    if (p_.x_kind == XKind::kS8Tensor) {
      call.pool.run([&](int thread, int threads) {
        const auto [begin, end] = share_of(p_.M, thread, threads);
        amax_[thread] = amax_avx2(x + begin * p_.K, (end - begin) * p_.K);
      });
      scale = scale_of(*std::max_element(amax_.data(), amax_.data() + amax_.size()), 127);
    }
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      for (std::int64_t m = begin; m < end; ++m) {
        quantized_row_avx2(p_, x + m * p_.K, scale, x_.data() + m * p_.K);
      }
    });
  }

  QgemmProblem p_;
  const OpenBlas& blas_;
  bool as_given_;  // x is multiplied where it lies
  AlignedBuffer<float> x_;
  AlignedBuffer<float> w_;
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<double>> rows_;  // of each thread
  AlignedBuffer<float> amax_;                // of each thread's rows of x
  float x_scale_ = 1;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<OpenBlasDequant>(problem, in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.u_operand = decoding_error(p);
  a.epilogue_roundings = p.has_bias ? 1 : 0;
  return a;
}

std::vector<std::string> all_but_fp32() {
  std::vector<std::string> names;
  for (const QgemmScheme& scheme : qgemm_schemes()) {
    if (scheme.name != "fp32") names.emplace_back(scheme.name);
  }
  return names;
}

const Registration registration{{
    .op = "qgemm",
    .name = "openblas_dequant",
    .summary = "every compressed scheme, W decoded to fp32 ahead of time, then OpenBLAS sgemm",
    .limits = {{.key = "scheme", .values = all_but_fp32()},
               {.key = "operands", .values = {"float"}},
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
