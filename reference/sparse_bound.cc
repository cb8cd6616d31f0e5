// First-order limits of the kernel error of sparse layers, element by element.
//
// Deterministic: each of the nnz products of an element meets at most nnz + 2 roundings of relative
// size u (and those that join the lanes), so |err| ≤ γ·(Σ|a·b| + |bias|) with the element's own
// number of products. Statistical: the variance of the same roundings if they are independent and
// uniform, as kernels-qgemm describes it. lowrank: the error of the inner products passes through
// A, so that roundings of both products add up.
#include <algorithm>
#include <cmath>

#include "reference/activation_bound.h"
#include "reference/equal_addends.h"
#include "reference/number_formats.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

constexpr double kFp32Underflow = 0x1p-150;  // half of the smallest subnormal

struct Element {
  double value = 0;
  double pre = 0;
  double z = 0;
  double bias = 0;  ///< |bias|
  double abs = 0;
  std::int64_t nonzeros = 0;
  double lost = 0;  ///< what flushing and underflow can add
};

class Bounder {
 public:
  Bounder(const SparseProblem& problem, const Terms& terms, const Arithmetic& arithmetic)
      : p_(problem),
        t_(terms),
        a_(arithmetic),
        after_(problem.activation, problem.out_dtype, arithmetic) {}

  Bounds run() const {
    const std::size_t count = column(SparseTerm::kValue).size();
    Bounds bounds;
    bounds.det.resize(count);
    bounds.stat.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      const Element e = element(i);
      if (!std::isfinite(e.pre)) {
        // An infinity has no error; the activation may make it finite.
        bounds.det[i] = after_.det(e.value, e.pre, 0);
        bounds.stat[i] = after_.stat(e.value, e.pre, 0);
      } else if (e.abs > 0 || e.bias > 0) {
        bounds.det[i] = after_.det(e.value, e.pre, det(e));
        bounds.stat[i] = after_.stat(e.value, e.pre, stat(e, i));
      } else {
        // Nothing but zeros is added: f(0), exactly where f is (sigmoid's ½ is not).
        bounds.det[i] = after_.det(e.value, e.pre, 0);
        if (after_.function_error(e.value, e.pre) > 0) {
          bounds.stat[i] = after_.stat(e.value, e.pre, 0);
        }
      }
      place(e, i, bounds);
    }
    bounds.independent = distinct_elements(t_, bounds.stat);
    return bounds;
  }

 private:
  const std::vector<double>& column(SparseTerm term) const {
    return t_.column[static_cast<std::size_t>(term)];
  }
  double at(SparseTerm term, std::size_t i) const {
    const std::vector<double>& values = column(term);
    return values.empty() ? 0 : values[i];
  }
  bool low_rank() const { return p_.format == SparseFormat::kLowRank; }

  Element element(std::size_t i) const {
    Element e;
    e.value = at(SparseTerm::kValue, i);
    e.pre = at(SparseTerm::kPre, i);
    e.z = at(SparseTerm::kZ, i);
    e.bias = std::abs(e.pre - e.z);
    e.abs = at(SparseTerm::kAbs, i);
    e.nonzeros = static_cast<std::int64_t>(at(SparseTerm::kNonzeros, i));
    const auto terms = static_cast<double>(p_.K + p_.rank);
    e.lost = (terms + 4) * kFp32Underflow;
    if (low_rank()) e.lost += terms * kFp32Underflow * at(SparseTerm::kPeak, i);
    if (a_.flushes_subnormals) e.lost += 3 * terms * 0x1p-126 + at(SparseTerm::kFlushed, i);
    return e;
  }

  // chain(0): the additions that join the lanes.
  double det(const Element& e) const {
    std::int64_t roundings = e.nonzeros + 2 + a_.chain(0);
    if (low_rank()) roundings += p_.K + a_.chain(0);
    const double relative =
        std::expm1(static_cast<double>(roundings) * a_.u_acc + a_.epilogue_roundings * kU32);
    return relative * (e.abs + e.bias) + a_.u_operand * e.abs + e.lost;
  }

  // The longest chain of additions over `terms` products that lie anywhere in `extent` places: one
  // lane may get them all, but never more than its share of the places.
  double growth(std::int64_t terms, std::int64_t extent, bool equal, double alike) const {
    const auto n = static_cast<double>(
        std::min(terms + a_.chain(0), std::max(a_.chain(extent), a_.chain(terms))));
    if (equal) return n * n;
    return (a_.acc_truncates ? n * n / 4 + n / 12 : n / 3) + n * n * alike;
  }

  double stat(const Element& e, std::size_t i) const {
    const double squares = at(SparseTerm::kSquares, i);
    const double v = std::max(e.z * e.z / 3 + squares / 6, at(SparseTerm::kPrefix, i));
    const bool equal = equal_addends(static_cast<double>(e.nonzeros), e.abs, squares);
    double sum =
        growth(e.nonzeros, low_rank() ? p_.rank : p_.K, equal, at(SparseTerm::kAlike, i)) * v;
    // Equal products with A say nothing about those that they are made of.
    if (low_rank()) sum += growth(p_.K, p_.K, false, 0) * at(SparseTerm::kInner, i);
    const int roundings = std::max(a_.epilogue_roundings, p_.has_bias ? 1 : 0);
    const double epilogue = roundings * kU32 * (std::abs(e.z) + e.bias);
    const double operands = a_.u_operand * a_.u_operand * (equal ? e.abs * e.abs : squares / 3);
    return std::sqrt(a_.u_acc * a_.u_acc * sum + operands + epilogue * epilogue + e.lost * e.lost);
  }

  void place(const Element& e, std::size_t i, Bounds& bounds) const {
    // Partial sums of finite products may overflow although the whole does not.
    const double abs = std::max(e.abs + e.bias, at(SparseTerm::kPeak, i));
    const bool overflows = std::isfinite(abs) && abs > largest_finite(DType::kF32);
    const bool leak = a_.multiplies_pruned && at(SparseTerm::kOpposite, i) != 0;
    if (!overflows && !leak && !after_.undefined_at(e.pre)) return;
    if (bounds.placement.empty()) {
      bounds.placement.assign(bounds.det.size(), Placement::kExact);
    }
    bounds.placement[i] = Placement::kAnything;
  }

  const SparseProblem& p_;
  const Terms& t_;
  const Arithmetic& a_;
  ActivationBound after_;
};

}  // namespace

Bounds sparse_bound(const SparseProblem& problem, const Terms& terms,
                    const Arithmetic& arithmetic) {
  return Bounder(problem, terms, arithmetic).run();
}

}  // namespace pareto
