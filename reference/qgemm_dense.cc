#include "reference/qgemm_dense.h"

#include <algorithm>
#include <cmath>

#include "reference/number_formats.h"
#include "reference/qgemm_operands.h"

namespace pareto {
namespace {

double sum_products(const double* x, const double* w, std::int64_t K,
                    DenseAccumulator accumulator) {
  double sum = 0;
  for (std::int64_t k = 0; k < K; ++k) {
    sum += x[k] * w[k];
    if (accumulator == DenseAccumulator::kExact || sum == 0 || !std::isfinite(sum)) continue;
    // fp16's 11 bits, whatever the exponent: overflow would be too easy to see.
    const double unit = std::ldexp(1.0, std::ilogb(sum) - 10);
    sum = std::nearbyint(sum / unit) * unit;
  }
  return sum;
}

// Codes and scales of one row of x or w.
struct IntegerRow {
  std::vector<std::int32_t> codes;
  std::vector<float> scales;
  std::vector<float> offsets;
  std::int32_t zero = 0;

  explicit IntegerRow(const QgemmProblem& p)
      : codes(static_cast<std::size_t>(p.K)),
        scales(static_cast<std::size_t>(p.w_groups())),
        offsets(scales.size()) {}
};

struct Saturated {
  double z = 0;
  std::int64_t acc = 0;  ///< of the last group
};

Saturated saturating_sum(const QgemmProblem& p, const IntegerRow& x, const IntegerRow& w) {
  Saturated result;
  for (std::int64_t g = 0; g < p.w_groups(); ++g) {
    std::int64_t acc = 0;
    double x_sum = 0;
    for (std::int64_t k = g * p.w_group; k < std::min(p.K, (g + 1) * p.w_group); ++k) {
      const auto i = static_cast<std::size_t>(k);
      const std::int64_t product = (std::int64_t{x.codes[i]} - x.zero) * w.codes[i];
      acc = std::clamp<std::int64_t>(acc + product, -32768, 32767);
      x_sum += x.codes[i];
    }
    const auto i = static_cast<std::size_t>(g);
    result.z += x.scales[i] * (static_cast<double>(acc) * w.scales[i] - x_sum * w.offsets[i]);
    result.acc = acc;
  }
  return result;
}

}  // namespace

QgemmDense decode_dense(const Problem& problem, std::span<const Tensor> in) {
  QgemmDense dense;
  dense.p = QgemmProblem::from(problem);
  const QgemmProblem& p = dense.p;
  dense.x.resize(static_cast<std::size_t>(p.M * p.K));
  dense.w.resize(static_cast<std::size_t>(p.N * p.K));
  dense.bias.assign(static_cast<std::size_t>(p.N), 0);
  const float tensor_scale = x_tensor_scale(p, in);
  for (std::int64_t m = 0; m < p.M; ++m) {
    decode_x_row(p, in, m, tensor_scale, dense.x.data() + m * p.K);
  }
  for (std::int64_t n = 0; n < p.N; ++n) {
    decode_w_row(p, in, n, dense.w.data() + n * p.K);
    if (p.has_bias) dense.bias[static_cast<std::size_t>(n)] = value_at(in[kQgemmBias], n);
  }
  dense.activation = p.activation;
  if (p.integer_operands()) {
    for (std::int64_t m = 0; m < p.M; ++m) dense.x_scale.push_back(value_at(in[kQgemmXScale], m));
    for (std::int64_t n = 0; n < p.N; ++n) dense.w_scale.push_back(value_at(in[kQgemmWScale], n));
  }
  return dense;
}

Outputs multiply_dense(const QgemmDense& d, DenseAccumulator accumulator) {
  Outputs outputs;
  outputs.emplace_back(d.p.out_dtype, Shape{d.p.M, d.p.N});
  if (d.p.integer_operands()) outputs.emplace_back(DType::kS32, Shape{d.p.M, d.p.N});
  for (std::int64_t m = 0; m < d.p.M; ++m) {
    for (std::int64_t n = 0; n < d.p.N; ++n) {
      const double z =
          sum_products(d.x.data() + m * d.p.K, d.w.data() + n * d.p.K, d.p.K, accumulator);
      const std::int64_t i = m * d.p.N + n;
      store_rounded(outputs[kQgemmY].view(), i,
                    activate(d.activation, z + d.bias[static_cast<std::size_t>(n)]));
      if (!d.p.integer_operands()) continue;
      const double acc =
          z / (d.x_scale[static_cast<std::size_t>(m)] * d.w_scale[static_cast<std::size_t>(n)]);
      outputs[kQgemmAcc].view().as<std::int32_t>()[i] =
          static_cast<std::int32_t>(std::clamp(std::nearbyint(acc), -2147483648.0, 2147483647.0));
    }
  }
  return outputs;
}

Outputs multiply_saturating(const QgemmDense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  Outputs outputs = multiply_dense(d, DenseAccumulator::kExact);
  const float tensor_scale = x_tensor_scale(p, in);
  std::vector<IntegerRow> w(static_cast<std::size_t>(p.N), IntegerRow(p));
  for (std::size_t n = 0; n < w.size(); ++n) {
    integer_w_row(p, in, static_cast<std::int64_t>(n), w[n].codes.data(), w[n].scales.data(),
                  w[n].offsets.data());
  }
  IntegerRow x(p);
  for (std::int64_t m = 0; m < p.M; ++m) {
    quantize_x_row(p, in, m, tensor_scale, x.codes.data(), x.scales.data(), &x.zero);
    for (std::size_t n = 0; n < w.size(); ++n) {
      const Saturated sum = saturating_sum(p, x, w[n]);
      const std::int64_t i = m * p.N + static_cast<std::int64_t>(n);
      store_rounded(outputs[kQgemmY].view(), i, activate(d.activation, sum.z + d.bias[n]));
      if (!p.integer_operands()) continue;
      outputs[kQgemmAcc].view().as<std::int32_t>()[i] = static_cast<std::int32_t>(sum.acc);
    }
  }
  return outputs;
}

}  // namespace pareto
