#include "reference/qgemm_sums.h"

#include <algorithm>
#include <cmath>

#include "reference/equal_addends.h"
#include "reference/qgemm_operands.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

constexpr double kSmallestNormalFp32 = 0x1p-126;

using Sums = std::array<QgemmSums, kPanelRows>;
using FourWords = std::int64_t __attribute__((vector_size(32)));

bool is_subnormal(double value) { return value != 0 && std::abs(value) < kSmallestNormalFp32; }
// Its last bits may be subnormal.
bool is_faint(double value) { return value != 0 && std::abs(value) < kFaint; }

void clear_signs(FourDoubles& values) {
  values = reinterpret_cast<FourDoubles>(reinterpret_cast<FourWords>(values) & INT64_MAX);
}

// Sums over single products; z is their sum in order.
void sum_products(const QgemmXPanel& x, const QgemmWRow& w, Sums& sums) {
  FourDoubles z{};
  FourDoubles abs{};
  FourDoubles squares{};
  FourDoubles prefix{};
  for (std::size_t k = 0; k < w.value.size(); ++k) {
    FourDoubles a = x.value[k];
    z += a * w.value[k];
    prefix += z * z;
    squares += a * a * w.square[k];
    clear_signs(a);
    abs += a * w.magnitude[k];
  }
  const auto K = static_cast<double>(std::max<std::size_t>(w.value.size(), 1));
  for (int row = 0; row < kPanelRows; ++row) {
    QgemmSums& sum = sums[static_cast<std::size_t>(row)];
    sum.z = z[row];
    sum.abs = abs[row];
    sum.squares = squares[row];
    sum.prefix = prefix[row] / K;
  }
}

void sum_values(const QgemmXPanel& x, const QgemmWRow& w, Sums& sums) {
  FourDoubles z{};
  for (std::size_t k = 0; k < w.value.size(); ++k) z += x.value[k] * w.value[k];
  for (int row = 0; row < kPanelRows; ++row) sums[static_cast<std::size_t>(row)].z = z[row];
}

// The same products as scaled sums of integers, which fp64 holds exactly: z anew, and the sums over
// groups (two terms each where w has an offset). Their prefix sums may run over both kinds of terms
// in turn or, as ggml's do, over either kind apart, which are larger where the two cancel.
void sum_groups(const QgemmProblem& problem, const QgemmXPanel& x, const QgemmWRow& w, Sums& sums) {
  const std::size_t K = w.codes.size();
  const auto step = static_cast<std::size_t>(problem.w_group);
  std::array<double, kPanelRows> products_so_far{};
  std::array<double, kPanelRows> offsets_so_far{};
  // Equal sums are rounded alike (equal_addends.h). They are counted from group to group, for the
  // last one may be shorter: `share` is what one such pair adds.
  std::array<double, kPanelRows> last_product{};
  std::array<double, kPanelRows> last_offset{};
  const double share = 1 / std::max(1.0, static_cast<double>(w.scales.size()) - 1);
  for (QgemmSums& sum : sums) sum.z = 0;
  for (std::size_t g = 0; g < w.scales.size(); ++g) {
    FourDoubles products{};
    FourDoubles x_sums{};
    double w_sum = 0;
    for (std::size_t k = g * step; k < std::min(K, (g + 1) * step); ++k) {
      products += x.codes[k] * w.codes[k];
      x_sums += x.codes[k];
      w_sum += w.codes[k];
    }
    for (int row = 0; row < kPanelRows; ++row) {
      const auto i = static_cast<std::size_t>(row);
      if (x.scales[i].empty()) continue;
      // A zero point may lie anywhere in int32: its product passes 2^53.
      const std::int64_t acc = static_cast<std::int64_t>(products[row]) -
                               std::int64_t{x.zero[i]} * static_cast<std::int64_t>(w_sum);
      const double x_scale = x.scales[i][g];
      const double first = static_cast<double>(acc) * (x_scale * w.scales[g]);
      const double second = x_sums[row] * (x_scale * w.offsets[g]);
      sums[i].z += first - second;
      sums[i].group_abs += std::abs(first) + std::abs(second);
      sums[i].group_squares += first * first + second * second;
      if (g > 0 && first != 0 && first == last_product[i] && second == last_offset[i]) {
        sums[i].group_alike += share;
      }
      last_product[i] = first;
      last_offset[i] = second;
      products_so_far[i] += first;
      offsets_so_far[i] += second;
      const double apart =
          (products_so_far[i] * products_so_far[i] + offsets_so_far[i] * offsets_so_far[i]) / 2;
      sums[i].group_prefix +=
          std::max(sums[i].z * sums[i].z, apart) / static_cast<double>(w.scales.size());
    }
  }
}

// How likely two products are equal. Where x and w have scales per group, equal values stand in one
// group of either, so that their places are not independent.
double equal_products(const QgemmProblem& problem, double x, double w) {
  const auto groups = static_cast<double>(std::min(problem.x_groups(), problem.w_groups()));
  return std::min({x, w, x * w * std::max(groups, 1.0)});
}

void sum_faint(const QgemmXPanel& x, const QgemmWRow& w, Sums& sums) {
  for (std::size_t k = 0; k < w.value.size(); ++k) {
    for (int row = 0; row < kPanelRows; ++row) {
      const double a = x.value[k][row];
      const double b = w.value[k];
      if (!is_faint(a) && !is_faint(b)) continue;
      QgemmSums& sum = sums[static_cast<std::size_t>(row)];
      sum.faint += std::abs(a * b);
      if (is_subnormal(a) || is_subnormal(b)) sum.flushed += std::abs(a * b);
    }
  }
}

// Row `row` of the panel.
void decode_x_into(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t m,
                   float tensor_scale, std::size_t row, QgemmXPanel& panel) {
  std::vector<double> values(panel.value.size());
  decode_x_row(problem, in, m, tensor_scale, values.data());
  for (std::size_t k = 0; k < values.size(); ++k) panel.value[k][row] = values[k];
  panel.faint |= std::any_of(values.begin(), values.end(), is_faint);
  panel.alike[row] = equal_pairs(values);
  if (!problem.integer_products()) return;
  std::vector<std::int32_t> codes(values.size());
  panel.scales[row].resize(static_cast<std::size_t>(problem.x_groups()));
  quantize_x_row(problem, in, m, tensor_scale, codes.data(), panel.scales[row].data(),
                 &panel.zero[row]);
  for (std::size_t k = 0; k < codes.size(); ++k) panel.codes[k][row] = codes[k];
}

}  // namespace

void decode_w(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
              QgemmWRow& row) {
  const auto K = static_cast<std::size_t>(problem.K);
  row.value.resize(K);
  row.magnitude.resize(K);
  row.square.resize(K);
  decode_w_row(problem, in, n, row.value.data());
  std::vector<double> offsets(static_cast<std::size_t>(problem.w_groups()), 0);
  if (problem.w_kind == WKind::kQ4kBlock) w_offsets(problem, in, n, offsets.data());
  const auto step = static_cast<std::size_t>(problem.w_group);
  for (std::size_t k = 0; k < K; ++k) {
    const double offset = offsets[k / step];
    const double product = row.value[k] + offset;
    row.magnitude[k] = std::abs(product) + offset;
    row.square[k] = product * product + offset * offset;
  }
  row.faint = std::any_of(row.value.begin(), row.value.end(), is_faint);
  row.alike = equal_pairs(row.value);
  if (!problem.integer_products()) return;
  std::vector<std::int32_t> codes(K);
  row.scales.resize(offsets.size());
  row.offsets.resize(offsets.size());
  integer_w_row(problem, in, n, codes.data(), row.scales.data(), row.offsets.data());
  row.codes.assign(codes.begin(), codes.end());
}

QgemmXPanel decode_x(const QgemmProblem& problem, std::span<const Tensor> in,
                     std::span<const std::int64_t> rows, float tensor_scale) {
  QgemmXPanel panel;
  panel.value.assign(static_cast<std::size_t>(problem.K), FourDoubles{});
  if (problem.integer_products()) panel.codes = panel.value;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    decode_x_into(problem, in, rows[row], tensor_scale, row, panel);
  }
  return panel;
}

std::array<QgemmSums, kPanelRows> qgemm_sums(const QgemmProblem& problem, const QgemmXPanel& x,
                                             const QgemmWRow& w, bool values_only) {
  Sums sums;
  if (values_only) {
    if (!problem.integer_products()) sum_values(x, w, sums);
  } else {
    sum_products(x, w, sums);
    for (std::size_t row = 0; row < sums.size(); ++row) {
      sums[row].alike = equal_products(problem, x.alike[row], w.alike);
    }
    if (x.faint || w.faint) sum_faint(x, w, sums);
  }
  if (problem.integer_products()) sum_groups(problem, x, w, sums);
  return sums;
}

}  // namespace pareto
