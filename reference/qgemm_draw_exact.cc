// Inputs whose every partial sum is exact: small whole numbers times powers of two, with plants
// that make every scale a power of two (q4_k, nvfp4: an exact number).
//
// Columns k mod 16 = 0 and 2 hold the plants of w opposite zeros of x, 1 and 3 those of x opposite
// zeros of w; all others hold −3…3, never 0 where k mod 16 is 4 or 15 (ends of tiles). Rows and
// groups differ in their power of two, so that swapped scales show. Needs K mod 256 ≥ 5 or 0.
#include <algorithm>
#include <cmath>

#include "reference/distributions.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

bool is_x_plant(std::int64_t k) { return k % 16 == 1 || k % 16 == 3; }
bool is_w_plant(std::int64_t k) { return k % 16 == 0 || k % 16 == 2; }

// Power of two of one group of one row.
int exponent_of(std::int64_t row, std::int64_t group) {
  return static_cast<int>((row + 2 * group) % 3);
}

// A whole number in −bound…bound, not 0 at the ends of tiles.
int small_integer(std::uint64_t key, std::int64_t i, std::int64_t k, int bound) {
  const auto counter = static_cast<std::uint64_t>(i);
  if (k % 16 == 4 || k % 16 == 15) {
    const int magnitude =
        1 + static_cast<int>(random_below(key, 2 * counter, static_cast<std::uint64_t>(bound)));
    return random_below(key, 2 * counter + 1, 2) == 0 ? magnitude : -magnitude;
  }
  const std::uint64_t span = 2 * static_cast<std::uint64_t>(bound) + 1;
  return static_cast<int>(random_below(key, 2 * counter, span)) - bound;
}

double x_plant(const QgemmProblem& p, std::int64_t k) {
  switch (p.x_kind) {
    case XKind::kU8Row:
      return k % 16 == 1 ? -100 : 155;  // range 255: scale 1, zero point 100
    case XKind::kFp8Row:
    case XKind::kFp8Group:
      return p.fp8_dtype == DType::kE5m2 ? 57344 : 448;
    case XKind::kMxfp8:
      return 256;
    case XKind::kFloat:
    case XKind::kInteger:
      return 3;
    default:
      return 127;
  }
}

int x_exponent(const QgemmProblem& p, std::int64_t m, std::int64_t k) {
  const bool one_scale = p.x_kind == XKind::kS8Tensor || p.x_kind == XKind::kS8Static;
  return one_scale ? 0 : exponent_of(m, k / p.x_group);
}

HostTensor exact_x(const QgemmProblem& p, std::uint64_t key) {
  HostTensor x(DType::kF32, Shape{p.M, p.K});
  for (std::int64_t i = 0; i < x.elements(); ++i) {
    const std::int64_t k = i % p.K;
    double value = is_w_plant(k) ? 0 : is_x_plant(k) ? x_plant(p, k) : small_integer(key, i, k, 3);
    value = std::ldexp(value, x_exponent(p, i / p.K, k));
    x.view().as<float>()[i] = static_cast<float>(value);
  }
  return x;
}

// Plants of the formats whose scale is an amax over a number. Column 0 of 16 is the first plant,
// column 2 the second.
double w_plant(const QgemmProblem& p, bool first) {
  switch (p.w_kind) {
    case WKind::kInt4:
      return 7.5;  // 2·7.5/15 = 1
    case WKind::kInt4Asym:
      return first ? -5 : 10;  // range 15: scale 1, zero point 5
    case WKind::kQ4Block:
      return -8;
    case WKind::kNf4:
      return 1;
    case WKind::kMxfp4:
    case WKind::kMxfp6E2m3:
      return 4;
    case WKind::kMxfp6E3m2:
      return 16;
    case WKind::kNvfp4:
      return 6;
    case WKind::kFp8Row:
      return p.fp8_dtype == DType::kE5m2 ? 57344 : 448;
    case WKind::kFp8Block:
      return 448;
    case WKind::kMxfp8:
      return 256;
    case WKind::kFloat:
      return 3;
    default:
      return 127;
  }
}

int w_exponent(const QgemmProblem& p, std::int64_t n, std::int64_t k) {
  if (p.scheme->x == XKind::kS8Tensor) return 0;
  return exponent_of(p.w_kind == WKind::kFp8Block ? n / 128 : n, k / p.w_group);
}

// Sub-block b has the step sc and the minimum −sc·t; the first of a super-block has sc = mn = 63,
// which makes d and dmin one.
double q4_k_value(std::uint64_t key, std::int64_t i, std::int64_t n, std::int64_t k) {
  const std::int64_t b = k / 32;
  const bool first = b % 8 == 0;
  const auto sc = static_cast<double>(first ? 63 : 1 + (b + n) % 7);
  const auto t = static_cast<double>(first ? 1 : 1 + (n + 2 * b) % 5);
  if (k % 16 == 0) return -sc * t;
  if (k % 16 == 2) return sc * (15 - t);
  return sc * std::max(small_integer(key, i, k, 3), -1);
}

double w_value(const QgemmProblem& p, std::uint64_t key, std::int64_t i) {
  const std::int64_t n = i / p.K;
  const std::int64_t k = i % p.K;
  if (is_x_plant(k)) return 0;
  if (p.w_kind == WKind::kQ4kBlock) {
    return std::ldexp(q4_k_value(key, i, n, k), exponent_of(n, k / 256));
  }
  if (p.w_kind == WKind::kNvfp4 && n == 0 && k < 16) {
    // The tensor's largest value sets the tensor scale to 1 and its block's to 448.
    return k == 0 ? 2688 : 0;
  }
  // nf4 multiplies by its absmax only −1, 0 and 1 exactly.
  const int bound = p.w_kind == WKind::kNf4 ? 1 : 3;
  const double value = is_w_plant(k) ? w_plant(p, k % 16 == 0) : small_integer(key, i, k, bound);
  return std::ldexp(value, w_exponent(p, n, k));
}

HostTensor exact_w(const QgemmProblem& p, std::uint64_t key) {
  HostTensor w(DType::kF32, Shape{p.N, p.K});
  for (std::int64_t i = 0; i < w.elements(); ++i) {
    w.view().as<float>()[i] = static_cast<float>(w_value(p, key, i));
  }
  return w;
}

HostTensor powers_of_two(std::int64_t count) {
  HostTensor scales(DType::kF32, Shape{count});
  for (std::int64_t i = 0; i < count; ++i) {
    scales.view().as<float>()[i] = std::ldexp(1.0F, exponent_of(i, 0));
  }
  return scales;
}

TensorMap exact_integers(const QgemmProblem& p, const Draw& draw) {
  TensorMap inputs;
  HostTensor x(p.x_dtype, Shape{p.M, p.K});
  HostTensor w(DType::kS8, Shape{p.N, p.K});
  HostTensor zeros(DType::kS32, Shape{p.M});
  for (std::int64_t m = 0; m < p.M; ++m) {
    const auto zero = static_cast<int>(p.has_x_zero ? 10 + m % 100 : 0);
    zeros.view().as<std::int32_t>()[m] = zero;
    for (std::int64_t k = 0; k < p.K; ++k) {
      const std::int64_t i = m * p.K + k;
      const int code = zero + small_integer(stream_key(draw, "x_q"), i, k, 3);
      // The unsigned type without zero points holds magnitudes.
      x.view().data[i] = static_cast<std::byte>(p.x_dtype == DType::kU8 ? std::abs(code) : code);
    }
  }
  for (std::int64_t i = 0; i < w.elements(); ++i) {
    w.view().data[i] =
        static_cast<std::byte>(small_integer(stream_key(draw, "w_q"), i, i % p.K, 3));
  }
  inputs["x_q"] = std::move(x);
  inputs["w_q"] = std::move(w);
  inputs["x_scale"] = powers_of_two(p.M);
  inputs["w_scale"] = powers_of_two(p.N);
  if (p.has_x_zero) inputs["x_zero"] = std::move(zeros);
  return inputs;
}

}  // namespace

TensorMap draw_exact_qgemm(const QgemmProblem& problem, const Draw& draw) {
  TensorMap inputs;
  if (problem.integer_operands()) {
    inputs = exact_integers(problem, draw);
  } else {
    inputs["x"] = exact_x(problem, stream_key(draw, "x"));
    inputs["w"] = exact_w(problem, stream_key(draw, "w"));
    if (problem.x_kind == XKind::kS8Static) {
      inputs["x_calib"] = HostTensor(DType::kF32, Shape{1, 1});
      inputs["x_calib"].span<float>()[0] = 127;
    }
  }
  if (problem.has_bias) {
    HostTensor bias(DType::kF32, Shape{problem.N});
    for (std::int64_t n = 0; n < problem.N; ++n) {
      bias.view().as<float>()[n] =
          static_cast<float>(small_integer(stream_key(draw, "bias"), n, 4, 8));
    }
    inputs["bias"] = std::move(bias);
  }
  return inputs;
}

}  // namespace pareto
