// Portable qgemm that takes every scheme and option.
//
// Idea: decode x once per call, then walk the rows of W: one decoded row stays in L1 while every
// row of x is multiplied with it. Integer schemes keep 16-bit codes, whose products the baseline's
// pmaddwd sums exactly; the others multiply fp32 in 16 lanes, which the compiler turns into
// whatever vectors the baseline has.
// Bottleneck: decoding of W when M is small, the two loads per product otherwise.
// Layout: operands as given; workspace x[M,K] (fp32 or s16), one W row per thread.
#include <algorithm>
#include <cstdint>

#include "harness/variant.h"
#include "reference/activation.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"
#include "reference/qgemm_operands.h"

namespace pareto {
namespace {

constexpr int kLanes = 16;

// One fp32 dot product: 16 chains, summed as a tree.
float dot(const float* x, const float* w, std::int64_t K) {
  float lane[kLanes] = {};
  std::int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) {
    for (int i = 0; i < kLanes; ++i) lane[i] += x[k + i] * w[k + i];
  }
  for (int i = 0; k < K; ++k, ++i) lane[i] += x[k] * w[k];
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}

// Exact: the limits on K keep the sum inside int32.
std::int32_t dot(const std::int16_t* x, const std::int16_t* w, std::int64_t K) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < K; ++k) sum += std::int32_t{x[k]} * std::int32_t{w[k]};
  return sum;
}

std::int32_t sum_of(const std::int16_t* codes, std::int64_t K) {
  std::int32_t sum = 0;
  for (std::int64_t k = 0; k < K; ++k) sum += codes[k];
  return sum;
}

class ScalarQgemm : public Prepared {
 public:
  ScalarQgemm(const Problem& problem, int threads)
      : p_(QgemmProblem::from(problem)), integer_(p_.integer_products()) {
    const std::int64_t row = std::max<std::int64_t>(p_.K, 1);
    const std::int64_t groups = std::max(p_.w_groups(), p_.x_groups());
    if (integer_) {
      x_codes_ = AlignedBuffer<std::int16_t>(p_.M * row);
      x_scales_ = AlignedBuffer<float>(p_.M * p_.x_groups());
      x_zero_ = AlignedBuffer<std::int32_t>(p_.M);
      for (int i = 0; i < threads; ++i) scratch_.emplace_back(row, groups);
    } else {
      x_ = AlignedBuffer<float>(p_.M * row);
      for (int i = 0; i < threads; ++i) scratch_.emplace_back(row, 0);
    }
  }

  void run(const Call& call) override {
    const float tensor_scale = x_tensor_scale(p_, call.in);
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      for (std::int64_t m = begin; m < end; ++m) decode_x(call, m, tensor_scale, scratch_[thread]);
    });
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.N, thread, threads);
      for (std::int64_t n = begin; n < end; ++n) {
        integer_ ? multiply_integers(call, n, scratch_[thread])
                 : multiply_floats(call, n, scratch_[thread]);
      }
    });
  }

 private:
  // Of one thread: a decoded row of x or W in its forms.
  struct Scratch {
    Scratch(std::int64_t row, std::int64_t groups)
        : exact(row), real(row), wide(row), code(row), scale(groups), offset(groups) {}
    AlignedBuffer<double> exact;
    AlignedBuffer<float> real;
    AlignedBuffer<std::int32_t> wide;
    AlignedBuffer<std::int16_t> code;
    AlignedBuffer<float> scale;
    AlignedBuffer<float> offset;
  };

  void decode_x(const Call& call, std::int64_t m, float tensor_scale, Scratch& scratch) {
    if (integer_) {
      quantize_x_row(p_, call.in, m, tensor_scale, scratch.wide.data(),
                     x_scales_.data() + m * p_.x_groups(), &x_zero_[m]);
      std::copy_n(scratch.wide.data(), p_.K, x_codes_.data() + m * p_.K);
    } else {
      decode_x_row(p_, call.in, m, tensor_scale, scratch.exact.data());
      std::copy_n(scratch.exact.data(), p_.K, x_.data() + m * p_.K);
    }
  }

  void multiply_floats(const Call& call, std::int64_t n, Scratch& scratch) {
    dequantize_row(p_, call.in, n, scratch.real.data());
    for (std::int64_t m = 0; m < p_.M; ++m) {
      store(call, m, n, dot(x_.data() + m * p_.K, scratch.real.data(), p_.K));
    }
  }

  void multiply_integers(const Call& call, std::int64_t n, Scratch& scratch) {
    integer_w_row(p_, call.in, n, scratch.wide.data(), scratch.scale.data(), scratch.offset.data());
    std::copy_n(scratch.wide.data(), p_.K, scratch.code.data());
    const bool grouped = p_.x_groups() > 1 || p_.w_groups() > 1;
    const std::uint32_t code_sum = sum_of(scratch.code.data(), p_.K);
    for (std::int64_t m = 0; m < p_.M; ++m) {
      if (grouped || p_.w_kind == WKind::kQ4kBlock) {
        store(call, m, n, group_sum(m, scratch));
        continue;
      }
      // Wraps in two's complement; only the difference has to fit.
      const auto acc = static_cast<std::int32_t>(
          static_cast<std::uint32_t>(dot(x_codes_.data() + m * p_.K, scratch.code.data(), p_.K)) -
          static_cast<std::uint32_t>(x_zero_[m]) * code_sum);
      if (p_.integer_operands()) call.out[kQgemmAcc].as<std::int32_t>()[m * p_.N + n] = acc;
      const double x_scale = p_.K > 0 ? x_scales_[m] : 1.0;
      const double w_scale = p_.K > 0 ? scratch.scale[0] : 1.0;
      store(call, m, n, acc * x_scale * w_scale);
    }
  }

  // Σ over groups of scaled exact sums, in fp64.
  double group_sum(std::int64_t m, const Scratch& scratch) const {
    const std::int64_t step = std::min(p_.w_group, p_.x_group);
    double y = 0;
    for (std::int64_t k = 0; k < p_.K; k += step) {
      const std::int64_t count = std::min(step, p_.K - k);
      const std::int16_t* x = x_codes_.data() + m * p_.K + k;
      const std::int64_t g = k / p_.w_group;
      const double products = dot(x, scratch.code.data() + k, count) * double{scratch.scale[g]};
      const double minimum = sum_of(x, count) * double{scratch.offset[g]};
      y += x_scales_[m * p_.x_groups() + k / p_.x_group] * (products - minimum);
    }
    return y;
  }

  // fp64 up to the one rounding to the output's type.
  void store(const Call& call, std::int64_t m, std::int64_t n, double y) const {
    if (p_.has_bias) y += call.in[kQgemmBias].as<float>()[n];
    store_rounded(call.out[kQgemmY], m * p_.N + n, activate(p_.activation, y));
  }

  QgemmProblem p_;
  bool integer_;
  AlignedBuffer<float> x_;
  AlignedBuffer<std::int16_t> x_codes_;
  AlignedBuffer<float> x_scales_;
  AlignedBuffer<std::int32_t> x_zero_;
  std::vector<Scratch> scratch_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& pool) {
  return std::make_unique<ScalarQgemm>(problem, pool.size());
}

// Values that need more than 24 bits, each rounded once to fp32.
double operand_rounding(const QgemmProblem& p) {
  switch (p.w_kind) {
    case WKind::kQ4kBlock:
    case WKind::kNf4:
    case WKind::kNvfp4:
      return kU32;
    case WKind::kFp8Row:
    case WKind::kFp8Block:
      return 2 * kU32;  // x too
    default:
      return 0;
  }
}

// The baseline has no FMA: products that need more than 24 bits are rounded before they are added.
double product_rounding(const QgemmProblem& p) {
  if (operand_rounding(p) != 0 || (p.x_kind == XKind::kFloat && p.x_dtype == DType::kF32)) {
    return kU32;
  }
  const bool int4 = p.w_kind == WKind::kInt4 || p.w_kind == WKind::kInt4Asym;
  return int4 && p.x_dtype == DType::kF16 ? kU32 : 0;  // 11 bits by code (4) · scale (11)
}

Arithmetic arithmetic(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.epilogue_roundings = 1;
  if (p.integer_products()) {
    a.integer_acc = true;
  } else {
    a.acc_lanes = kLanes;
    a.u_operand = operand_rounding(p) + product_rounding(p);
  }
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "scalar",
    .summary = "portable: every scheme, decoded row by row; exact int32 or fp32 in 16 lanes",
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
