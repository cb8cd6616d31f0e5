// Faults in the decoded operands.
#include <algorithm>
#include <cmath>

#include "reference/number_formats.h"
#include "reference/qgemm_faults.h"
#include "reference/qgemm_operands.h"

namespace pareto {
namespace {

constexpr std::int64_t kDroppedTile = 32;

// The integers that a wrong kernel would leave in without their zero points.
void add_w_zero_points(QgemmDense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  std::vector<std::int32_t> codes(static_cast<std::size_t>(p.K));
  std::vector<float> scales(static_cast<std::size_t>(p.w_groups()));
  std::vector<float> offsets(scales.size());
  for (std::int64_t n = 0; n < p.N; ++n) {
    integer_w_row(p, in, n, codes.data(), scales.data(), offsets.data());
    for (std::int64_t k = 0; k < p.K; ++k) {
      const std::int64_t g = k / p.w_group;
      const auto group = static_cast<std::size_t>(g);
      double added = 8.0 * scales[group];
      if (p.w_kind == WKind::kQ4kBlock) added = offsets[group];
      if (p.w_kind == WKind::kInt4Asym) {
        added = in[kQgemmWZero].as<std::uint8_t>()[n * p.w_groups() + g] *
                static_cast<double>(scales[group]);
      }
      d.w[static_cast<std::size_t>(n * p.K + k)] += added;
    }
  }
}

void add_x_zero_points(QgemmDense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  std::vector<std::int32_t> codes(static_cast<std::size_t>(p.K));
  float scale = 1;
  std::int32_t zero = 0;
  for (std::int64_t m = 0; m < p.M; ++m) {
    quantize_x_row(p, in, m, 1, codes.data(), &scale, &zero);
    for (std::int64_t k = 0; k < p.K; ++k) {
      d.x[static_cast<std::size_t>(m * p.K + k)] += static_cast<double>(zero) * scale;
    }
  }
}

}  // namespace

void drop_from(QgemmDense& d, std::int64_t first_k) {
  for (std::int64_t m = 0; m < d.p.M; ++m) {
    for (std::int64_t k = std::max<std::int64_t>(first_k, 0); k < d.p.K; ++k) {
      d.x[static_cast<std::size_t>(m * d.p.K + k)] = 0;
    }
  }
}

void drop_last_tile(QgemmDense& d) {
  if (d.p.K > 0) drop_from(d, (d.p.K - 1) / kDroppedTile * kDroppedTile);
}

bool has_x_zero_points(const QgemmProblem& p) { return p.x_kind == XKind::kU8Row || p.has_x_zero; }

bool has_w_zero_points(const QgemmProblem& p) {
  return p.w_kind == WKind::kInt4 || p.w_kind == WKind::kInt4Asym || p.w_kind == WKind::kQ4Block ||
         p.w_kind == WKind::kQ4kBlock;
}

void drop_zero_points(QgemmDense& d, std::span<const Tensor> in) {
  has_x_zero_points(d.p) ? add_x_zero_points(d, in) : add_w_zero_points(d, in);
}

void swap_x_scales(QgemmDense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  if (p.M < 2 || p.K == 0) return;
  std::vector<double> first(static_cast<std::size_t>(p.x_groups()));
  std::vector<double> second(first.size());
  x_row_scales(p, in, 0, first.data());
  x_row_scales(p, in, 1, second.data());
  for (std::int64_t k = 0; k < p.K; ++k) {
    const auto g = static_cast<std::size_t>(k / p.x_group);
    d.x[static_cast<std::size_t>(k)] *= second[g] / first[g];
    d.x[static_cast<std::size_t>(p.K + k)] *= first[g] / second[g];
  }
}

void quantize_by_reciprocal(QgemmDense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  std::vector<double> scales(static_cast<std::size_t>(p.x_groups()));
  for (std::int64_t m = 0; m < p.M; ++m) {
    const float tensor_scale = x_tensor_scale(p, in);
    if (p.x_kind == XKind::kS8Tensor || p.x_kind == XKind::kS8Static) {
      std::fill(scales.begin(), scales.end(), tensor_scale);
    } else {
      x_row_scales(p, in, m, scales.data());
    }
    const bool fp8 = !p.integer_products();
    for (std::int64_t k = 0; k < p.K; ++k) {
      const double scale = scales[static_cast<std::size_t>(k / p.x_group)];
      const float inverse = 1.0F / static_cast<float>(scale);
      const float quotient = in[kQgemmX].as<float>()[m * p.K + k] * inverse;
      const FloatFormat& format = p.fp8_dtype == DType::kE5m2 ? kE5m2Format : kE4m3Format;
      // Saturation as in the right codes; only the rounding of near ties differs.
      const double code = fp8 ? decode_float(format, encode_saturating(format, quotient))
                              : std::nearbyint(std::clamp(quotient, -255.0F, 255.0F));
      double& value = d.x[static_cast<std::size_t>(m * p.K + k)];
      if (std::abs(code * scale - value) < 1.5 * scale || fp8) value = code * scale;
    }
  }
}

}  // namespace pareto
