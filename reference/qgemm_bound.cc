// First-order limits of qgemm's kernel error, element by element.
//
// Deterministic: every product meets at most n roundings of relative size u, so the error is at
// most
// ((1+u)^n − 1)·(Σ|a·b| + |bias|), and (1+u)^n − 1 ≤ e^{nu} − 1. Statistical: the variance of the
// same roundings if they are independent and uniform; V bounds the mean squared partial sum.
#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/activation_bound.h"
#include "reference/equal_addends.h"
#include "reference/number_formats.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

// Accumulators of 24 bits, rounding or truncating, follow the sum over every product; coarser
// ones (fp8 tensor cores) are bounded by their own accumulation steps.
constexpr double kFinestCoarseUnit = 0x1p-22;
constexpr double kFp32Underflow = 0x1p-150;  // half of the smallest subnormal

// The sums that the accumulation in use rounds: products, or exact group sums after scaling.
struct Accumulated {
  std::int64_t terms = 0;
  double abs = 0;
  double squares = 0;
  double prefix = 0;  ///< mean squared prefix sum
  double alike = 0;   ///< how likely two addends are equal
};

struct Element {
  double value = 0;
  double pre = 0;
  double z = 0;
  double bias = 0;  ///< |bias|
};

double column_or(const Terms& terms, int column, std::size_t i, double fallback) {
  const std::vector<double>& values = terms.column[static_cast<std::size_t>(column)];
  return values.empty() ? fallback : values[i];
}

Element element_of(const Terms& terms, std::size_t i) {
  Element element;
  element.value = terms.column[kTermValue][i];
  element.pre = column_or(terms, kTermPre, i, element.value);
  element.z = column_or(terms, kTermZ, i, element.pre);
  element.bias = std::abs(element.pre - element.z);
  return element;
}

class Bounder {
 public:
  Bounder(const QgemmProblem& problem, const Terms& terms, const Arithmetic& arithmetic)
      : p_(problem),
        t_(terms),
        a_(arithmetic),
        integer_(arithmetic.integer_acc && problem.integer_products()),
        coarse_(arithmetic.u_acc >= kFinestCoarseUnit),
        after_(problem.activation, problem.out_dtype, arithmetic) {}

  Bounds run() const {
    const std::size_t count = t_.column[kTermValue].size();
    Bounds bounds;
    bounds.det.resize(count);
    bounds.stat.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      const Element element = element_of(t_, i);
      const Accumulated sum = accumulated(element, i);
      // Behind an infinite argument only the function itself can err.
      const bool finite = std::isfinite(element.pre);
      bounds.det[i] = after_.det(element.value, element.pre, finite ? det(element, sum, i) : 0);
      const double stat = finite ? this->stat(element, sum, i) : 0;
      // sigmoid(0) is ½ to within the function's error even where nothing was added.
      const bool inexact = stat > 0 || after_.function_error(element.value, element.pre) > 0;
      bounds.stat[i] = inexact ? after_.stat(element.value, element.pre, stat) : 0;
      place(element, i, bounds);
    }
    bounds.independent = distinct_elements(t_, bounds.stat);
    return bounds;
  }

 private:
  Accumulated accumulated(const Element& element, std::size_t i) const {
    if (!integer_) {
      return {p_.K, t_.column[kTermAbs][i], t_.column[kTermSquares][i], t_.column[kTermPrefix][i],
              column_or(t_, kTermAlike, i, 0)};
    }
    if (t_.column[kTermGroupAbs].empty()) {
      const double square = element.z * element.z;
      return {1, std::abs(element.z), square, square};
    }
    const std::int64_t per_group = p_.w_kind == WKind::kQ4kBlock ? 2 : 1;
    return {p_.w_groups() * per_group, t_.column[kTermGroupAbs][i], t_.column[kTermGroupSquares][i],
            t_.column[kTermGroupPrefix][i], column_or(t_, kTermGroupAlike, i, 0)};
  }

  // Roundings after the accumulation. Exact integers need three: conversion, product of the scales,
  // bias (the scaling itself is one of the terms').
  int epilogue() const {
    if (integer_) return std::max(a_.epilogue_roundings, 3);
    return std::max(a_.epilogue_roundings, p_.has_bias ? 1 : 0);
  }

  // What flushing and underflow can add. Decoding a weight that is subnormal rounds it to a
  // multiple of the smallest one: at most the weight itself is lost. Scales whose product
  // underflows lose half a subnormal of it, times an accumulator below K·2^18 (448²).
  double underflow(std::size_t i) const {
    double lost = static_cast<double>(p_.K + 4) * kFp32Underflow;
    if (epilogue() > 1) lost += static_cast<double>(p_.K) * 0x1p18 * kFp32Underflow;
    if (a_.flushes_subnormals) {
      lost += static_cast<double>(3 * a_.operand_products * p_.K) * 0x1p-126;
      if (a_.operand_products > 1) lost += column_or(t_, kTermFaint, i, 0);
    }
    const bool decodes = p_.w_kind != WKind::kFloat;
    if (a_.flushes_subnormals || decodes) lost += column_or(t_, kTermFlushed, i, 0);
    return lost;
  }

  bool nothing_there(const Element& element, std::size_t i) const {
    return t_.column[kTermAbs][i] == 0 && element.bias == 0;
  }

  double det(const Element& element, const Accumulated& sum, std::size_t i) const {
    if (nothing_there(element, i)) return 0;
    // chain(0): the additions that join the lanes.
    const std::int64_t steps = coarse_ ? a_.chain(sum.terms) : sum.terms + a_.chain(0);
    const double accumulation = static_cast<double>(steps) * a_.u_acc +
                                static_cast<double>(a_.promotions(sum.terms)) * kU32;
    const double relative = std::expm1(accumulation + epilogue() * kU32);
    return relative * (sum.abs + element.bias) + a_.u_operand * t_.column[kTermAbs][i] +
           underflow(i);
  }

  // Roundings are independent only between different products. fp8 operands under one scale have
  // few: m significands on either side give m(m+1)/2 products, and equal products against sums of
  // one exponent are rounded by the same amount, n/D times each (positive data, one chain over K =
  // 2063: mean squared ratio 4.3 for E5M2 without this).
  double distinct_products() const {
    if (integer_ || p_.w_kind != WKind::kFp8Row) return std::numeric_limits<double>::infinity();
    return p_.fp8_dtype == DType::kE5m2 ? 10 : 36;
  }

  // Roundings of weights to 16 bits are independent only between different codes of one group: the
  // codes of w have few magnitudes, equal ones are rounded alike (positive data: mean squared ratio
  // 8.8 for 4 bits in groups of 128 without this).
  double equal_weights() const {
    if (a_.u_operand < kUFp16) return 0;
    const bool nibbles = p_.w_kind == WKind::kInt4 || p_.w_kind == WKind::kInt4Asym ||
                         p_.w_kind == WKind::kQ4Block || p_.w_kind == WKind::kQ4kBlock ||
                         p_.w_kind == WKind::kNf4;
    constexpr double kNibbleMagnitudes = 8;
    return nibbles ? static_cast<double>(p_.w_group) / kNibbleMagnitudes : 0;
  }

  double stat(const Element& element, const Accumulated& sum, std::size_t i) const {
    if (nothing_there(element, i)) return 0;
    const auto n = static_cast<double>(a_.chain(sum.terms));
    const bool equal = equal_addends(static_cast<double>(sum.terms), sum.abs, sum.squares);
    const double v = std::max(element.z * element.z / 3 + sum.squares / 6, sum.prefix);
    const double scaling = epilogue() * kU32 * (std::abs(element.z) + element.bias);
    const double lost = underflow(i);
    const double promoted = kU32 * kU32 * static_cast<double>(a_.promotions(sum.terms)) / 3;
    return std::sqrt((a_.u_acc * a_.u_acc * growth(n, equal, sum.alike) + promoted) * v +
                     operands_squared(i) + scaling * scaling + lost * lost);
  }

  // g(n) of a chain of n additions.
  double growth(double n, bool equal, double alike) const {
    if (equal) return n * n;
    const double distinct =
        a_.acc_truncates ? n * n / 4 + n / 12 : n / 3 * (1 + n / distinct_products());
    return distinct + n * n * alike;
  }

  // Roundings of operands inside the kernel.
  double operands_squared(std::size_t i) const {
    const double u2 = a_.u_operand * a_.u_operand;
    const double abs = t_.column[kTermAbs][i];
    const double squares = t_.column[kTermSquares][i];
    if (equal_addends(static_cast<double>(p_.K), abs, squares)) return u2 * abs * abs;
    return u2 / 3 * (1 + equal_weights()) * squares;
  }

  void place(const Element& element, std::size_t i, Bounds& bounds) const {
    // Partial sums of finite products may overflow although the whole does not.
    const double abs = t_.column[kTermAbs][i];
    const bool overflows = std::isfinite(abs) && abs > largest_finite(DType::kF32);
    if (!after_.undefined_at(element.pre) && !overflows) return;
    if (bounds.placement.empty()) {
      bounds.placement.assign(bounds.det.size(), Placement::kExact);
    }
    bounds.placement[i] = Placement::kAnything;
  }

  const QgemmProblem& p_;
  const Terms& t_;
  const Arithmetic& a_;
  bool integer_;
  bool coarse_;
  ActivationBound after_;
};

}  // namespace

Bounds qgemm_bound(const QgemmProblem& problem, int output, const Terms& terms,
                   const Arithmetic& arithmetic) {
  if (output == kQgemmAcc) {
    // Integers agree bit for bit.
    Bounds bounds;
    bounds.det.assign(terms.column[0].size(), 0);
    bounds.stat.assign(terms.column[0].size(), 0);
    return bounds;
  }
  return Bounder(problem, terms, arithmetic).run();
}

}  // namespace pareto
