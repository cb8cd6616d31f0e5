#include "reference/low_rank.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "harness/errors.h"

namespace pareto {
namespace {

constexpr double kOrthogonal = 1e-14;
constexpr int kMostSweeps = 60;

double dot(const double* a, const double* b, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// Columns stand one after the other: column j at data + j·length.
struct Columns {
  std::int64_t length = 0;
  std::int64_t count = 0;
  std::vector<double> data;
  double* operator[](std::int64_t j) { return data.data() + j * length; }
};

// Householder reflectors of a tall matrix; R ends up in the upper triangle, reflector j below and
// on the diagonal of `reflectors`.
struct Reduced {
  Columns reflectors;
  Columns triangle;
};

Reduced reduce(Columns tall) {
  const std::int64_t n = tall.count;
  Reduced reduced{{tall.length, n, std::vector<double>(tall.data.size())},
                  {n, n, std::vector<double>(static_cast<std::size_t>(n * n))}};
  for (std::int64_t j = 0; j < n; ++j) {
    double* column = tall[j];
    double* v = reduced.reflectors[j];
    const std::int64_t left = tall.length - j;
    const double norm = std::sqrt(dot(column + j, column + j, left));
    std::copy(column + j, column + tall.length, v + j);
    v[j] += std::copysign(norm, column[j]);
    const double v_norm = std::sqrt(dot(v + j, v + j, left));
    if (v_norm > 0) {
      for (std::int64_t i = j; i < tall.length; ++i) v[i] /= v_norm;
      for (std::int64_t c = j; c < n; ++c) {
        const double twice = 2 * dot(v + j, tall[c] + j, left);
        for (std::int64_t i = j; i < tall.length; ++i) tall[c][i] -= twice * v[i];
      }
    }
    std::copy(column, column + j + 1, reduced.triangle[j]);
  }
  return reduced;
}

// Rotates columns p and q of `u` (and of `v`) until they are orthogonal; false if they were.
bool rotate(Columns& u, Columns& v, std::int64_t p, std::int64_t q) {
  const double alpha = dot(u[p], u[p], u.length);
  const double beta = dot(u[q], u[q], u.length);
  const double gamma = dot(u[p], u[q], u.length);
  if (std::abs(gamma) <= kOrthogonal * std::sqrt(alpha * beta) || gamma == 0) return false;
  const double zeta = (beta - alpha) / (2 * gamma);
  const double t = std::copysign(1.0, zeta) / (std::abs(zeta) + std::hypot(1.0, zeta));
  const double c = 1 / std::sqrt(1 + t * t);
  const double s = c * t;
  for (Columns* matrix : {&u, &v}) {
    double* a = (*matrix)[p];
    double* b = (*matrix)[q];
    for (std::int64_t i = 0; i < matrix->length; ++i) {
      const double first = a[i];
      a[i] = c * first - s * b[i];
      b[i] = s * first + c * b[i];
    }
  }
  return true;
}

// u·v' = the matrix that came in as u, with u's columns orthogonal and v's orthonormal.
Columns orthogonalize(Columns& u) {
  Columns v{u.count, u.count, std::vector<double>(static_cast<std::size_t>(u.count * u.count))};
  for (std::int64_t j = 0; j < u.count; ++j) v[j][j] = 1;
  bool rotated = true;
  for (int sweep = 0; sweep < kMostSweeps && rotated; ++sweep) {
    rotated = false;
    for (std::int64_t p = 0; p < u.count; ++p) {
      for (std::int64_t q = p + 1; q < u.count; ++q) rotated = rotate(u, v, p, q) || rotated;
    }
  }
  return v;
}

// The tall orientation of w: its columns, or those of its transpose.
Columns tall_columns(std::span<const float> w, std::int64_t rows, std::int64_t columns) {
  const bool flipped = rows < columns;
  const std::int64_t count = std::min(rows, columns);
  const std::int64_t length = std::max(rows, columns);
  Columns tall{length, count, std::vector<double>(w.size())};
  for (std::int64_t j = 0; j < count; ++j) {
    for (std::int64_t i = 0; i < length; ++i) {
      tall[j][i] = w[static_cast<std::size_t>(flipped ? j * columns + i : i * columns + j)];
    }
  }
  return tall;
}

// Q·x for x of n elements, in place in a vector of the tall length.
void apply_reflectors(Columns& reflectors, std::vector<double>& x) {
  for (std::int64_t h = reflectors.count; h-- > 0;) {
    const double* v = reflectors[h];
    const double twice = 2 * dot(v + h, x.data() + h, reflectors.length - h);
    for (std::int64_t i = h; i < reflectors.length; ++i) {
      x[static_cast<std::size_t>(i)] -= twice * v[i];
    }
  }
}

// Norms of the columns, and the columns by descending norm.
std::vector<std::pair<double, std::int64_t>> by_norm(Columns& columns) {
  std::vector<std::pair<double, std::int64_t>> order;
  for (std::int64_t j = 0; j < columns.count; ++j) {
    order.emplace_back(std::sqrt(dot(columns[j], columns[j], columns.length)), j);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  return order;
}

}  // namespace

LowRankFactors truncated_svd(std::span<const float> w, std::int64_t rows, std::int64_t columns,
                             std::int64_t rank) {
  if (!std::all_of(w.begin(), w.end(), [](float value) { return std::isfinite(value); })) {
    throw InputError("dataset w holds NaN or infinities: method = svd needs finite weights");
  }
  // tall = Q·R. Rotating the columns of Rᵀ converges faster than those of R: Rᵀ·V = U·S, hence
  // tall = (Q·V)·S·Uᵀ.
  Reduced reduced = reduce(tall_columns(w, rows, columns));
  const std::int64_t n = reduced.triangle.count;
  Columns u{n, n, std::vector<double>(static_cast<std::size_t>(n * n))};
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = 0; i <= j; ++i) u[i][j] = reduced.triangle[j][i];
  }
  Columns v = orthogonalize(u);
  LowRankFactors factors;
  factors.a.resize(static_cast<std::size_t>(rows * rank));
  factors.b.resize(static_cast<std::size_t>(rank * columns));
  for (const auto& [sigma, j] : by_norm(u)) {
    const auto r = static_cast<std::int64_t>(factors.singular_values.size());
    factors.singular_values.push_back(sigma);
    if (r >= rank || sigma == 0) continue;
    std::vector<double> tall(v[j], v[j] + n);
    tall.resize(static_cast<std::size_t>(reduced.reflectors.length));
    apply_reflectors(reduced.reflectors, tall);
    std::vector<double> flat(u[j], u[j] + n);
    for (double& x : tall) x *= std::sqrt(sigma);
    for (double& x : flat) x /= std::sqrt(sigma);
    if (rows < columns) std::swap(tall, flat);
    for (std::int64_t i = 0; i < rows; ++i) {
      factors.a[static_cast<std::size_t>(i * rank + r)] = tall[static_cast<std::size_t>(i)];
    }
    std::copy(flat.begin(), flat.end(), factors.b.begin() + r * columns);
  }
  return factors;
}

}  // namespace pareto
