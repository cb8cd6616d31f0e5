// First-order limits of an attention kernel's error, from the reference's sums (AttentionTerm) and
// the arithmetic that a variant declares. With o = Σ p_j v_j and ∂o/∂s_j = p_j (v_j − o):
//
//   T_det = u_out|o| + (u_P + …)A + η·Σ|v|/l + Σ p|v−o||δs| + [2u_e + 2n_b(u₃₂+u_e)]D
//           + [n_PV·u_a + n_b·u₃₂]A + (B_c + n_b)u₃₂|o|
//
// |δs| = n_QK·u_a·x + 4u₃₂·y + u_tanh·t; n_b blocks of B_c keys; n_QK, n_PV the chains of
// additions. T_stat is the same in the mean square. Dequantized operands are rounded once to fp32.
//
// Integer kernels round to fixed steps. A step of q errs by up to u_step·max|q| in every product,
// whatever q_i is: |δs| grows by u_step·z, z = |scale|·max|q|·Σ|k|. P·v_scale in integers errs by
// up to half a step, ρ·max over the page; a weight below that may vanish, but no more: r = min(p,
// ρ·max/v_scale), and T_det grows by Σ r|v|. Rounding is uniform, Σ r²v²/3 in the mean square of
// many weights; one that outweighs the others errs alike in all columns, and in all rows that see
// its key, so that its r²v² counts as a whole. Weights that vanish do so with one sign, and their
// sum Σ p|v| counts as a whole, too.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "reference/attention_op.h"
#include "reference/equal_addends.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

/// exp underflows to 0 or to a subnormal in every fp32 implementation.
constexpr double kExpUnderflow = 0x1p-126;

/// g(n): mean square of the error of a chain of n additions, in units of u².
double chain_variance(double n, bool truncates, bool equal = false, double alike = 0) {
  if (equal) return n * n;
  return (truncates ? n * n / 4 + n / 12 : n / 3) + n * n * alike;
}

/// The declared arithmetic on one row of `keys` visible keys.
struct RowArithmetic {
  RowArithmetic(const AttentionProblem& p, const Arithmetic& a, double keys)
      : n_qk(static_cast<double>(a.chain(p.head_dim))),
        n_pv(std::ceil(keys / static_cast<double>(a.acc_block))),
        // One block more: the first and the last may be cut by the mask.
        block(a.kv_block > 0 ? static_cast<double>(a.kv_block) : keys),
        blocks(a.kv_block > 0 ? std::ceil(keys / block) + 1 : 1),
        eta(std::max(a.p_underflow, kExpUnderflow)),
        dequantized(size_of(p.kv_dtype) == 1 || size_of(p.q_dtype) == 1 ? kU32 : 0) {}
  double n_qk;
  double n_pv;
  double block;
  double blocks;
  double eta;
  double dequantized;
};

struct LogitError {
  double x = 0;  ///< per unit of |scale|·|q|ᵀ|k|
  double y = 0;  ///< per unit of |s−m| + |m| + …
  double t = 0;  ///< per unit of the capped logit
  double z = 0;  ///< per unit of |scale|·max|q|·Σ|k|
};

LogitError logit_error(const Arithmetic& a, const RowArithmetic& r) {
  return {.x = r.n_qk * a.u_acc + a.u_q_inner + a.u_operand + 2 * r.dequantized,
          .y = 4 * kU32,
          .t = a.u_tanh,
          .z = a.u_q_step};
}

/// unit · sum; sums that nothing depends on may be infinite.
double part_of(double unit, double sum) { return unit > 0 ? unit * sum : 0; }

/// δ: how far the logits of a row move at most.
double moved_by(const LogitError& unit, double max_x, double max_y, double max_z) {
  return unit.x * max_x + (unit.y + unit.t) * max_y + part_of(unit.z, max_z);
}

/// First-order sums become limits when logits move by up to δ: (e^δ − 1)/δ · e^δ ≤ e^2δ.
double beyond_first_order(const LogitError& unit, double max_x, double max_y, double max_z) {
  constexpr double kCertain = 50;  // e^100: no limit at all
  return std::exp(2 * std::min(moved_by(unit, max_x, max_y, max_z), kCertain));
}

Placement placement_of(int flags, const Arithmetic& arithmetic) {
  if ((flags & kFlagAnything) != 0) return Placement::kAnything;
  if ((flags & kFlagNonFinite) != 0) return Placement::kAnyNonFinite;
  if ((flags & kFlagLeak) != 0 && arithmetic.leaks_nonfinite) return Placement::kAnything;
  return Placement::kExact;
}

/// Reads the sums of one element by name.
class ElementTerms {
 public:
  ElementTerms(const Terms& terms, std::size_t at) : terms_(terms), at_(at) {}
  double operator()(int column) const { return terms_.column[column][at_]; }

 private:
  const Terms& terms_;
  std::size_t at_;
};

double output_rounding(const AttentionProblem& p, double o) {
  return unit_roundoff(p.out_dtype) * std::max(std::abs(o), smallest_normal(p.out_dtype));
}

/// How much larger what is lost of a weight becomes that has a scale of int8 codes in it.
double largest_code(const AttentionProblem& p) { return p.kv_dtype == DType::kS8 ? 127 : 1; }

/// Subnormal operands and products that count as 0: each of 2N + d steps loses at most 2^-126.
double flushing(const AttentionProblem& p, const Arithmetic& a, double keys) {
  if (!a.flushes_subnormals) return 0;
  return (2 * keys + static_cast<double>(p.head_dim)) * largest_code(p) * kExpUnderflow;
}

/// Products of weights and values that are subnormal, or of weights and scales of int8 codes.
double underflow(const AttentionProblem& p, double keys) {
  constexpr double kHalfSubnormal = 0x1p-150;
  return (keys + 1) * largest_code(p) * kHalfSubnormal;
}

/// The first term of what rounding P to integers does: of the coarsest codes as fine as declared.
int page_terms(const Arithmetic& a) {
  int codes = kPageCodes - 1;
  while (codes > 0 && kPageRoundings[codes] < a.u_p_page) --codes;
  if (a.u_p_page > kPageRoundings[codes]) {
    throw std::logic_error("u_p_page is coarser than kPageRoundings has terms for");
  }
  return kTermPage + codes * kPageTerms;
}

double page_limit(const Arithmetic& a, const ElementTerms& term) {
  return a.u_p_page > 0 ? term(page_terms(a) + kPageLoss) : 0;
}

double page_variance(const Arithmetic& a, const ElementTerms& term) {
  if (a.u_p_page == 0) return 0;
  const int first = page_terms(a);
  const double loss = term(first + kPageLoss);
  const double squares = term(first + kPageLoss2);
  const double gone = term(first + kPageGone);
  // 1 over the number of losses if they were equal; 1 where both sums are 0 or infinite.
  const double share = std::min(1.0, squares / (loss * loss));
  return squares * (1 + 2 * share) / 3 + part_of(term(kTermAlike), loss * loss) + gone * gone;
}

double o_limit(const AttentionProblem& p, const Arithmetic& a, const ElementTerms& term) {
  const RowArithmetic r(p, a, term(kTermKeys));
  const LogitError unit = logit_error(a, r);
  const double o = std::abs(term(kTermValue));
  const double moved = unit.x * term(kTermB) + unit.y * term(kTermE) + unit.t * term(kTermG) +
                       part_of(unit.z, term(kTermZ)) +
                       (2 * a.u_exp + 2 * r.blocks * (kU32 + a.u_exp)) * term(kTermD);
  const double weighted =
      a.u_p + a.u_operand + 2 * r.dequantized + r.n_pv * a.u_acc + r.blocks * kU32;
  return output_rounding(p, o) +
         (moved + weighted * term(kTermA) + page_limit(a, term)) *
             beyond_first_order(unit, term(kTermMaxX), term(kTermMaxY), term(kTermMaxZ)) +
         r.eta * term(kTermV) + (r.block + r.blocks) * kU32 * o + flushing(p, a, term(kTermKeys)) +
         underflow(p, term(kTermKeys));
}

double o_scale(const AttentionProblem& p, const Arithmetic& a, const ElementTerms& term) {
  const RowArithmetic r(p, a, term(kTermKeys));
  // Where rounding alone moves weights from key to key (a bias of -1e9 on a whole row: fp32 there
  // has steps of 64), the mean square of first order says nothing.
  constexpr double kFirstOrder = 1;
  const LogitError unit = logit_error(a, r);
  if (moved_by(unit, term(kTermMaxX), term(kTermMaxY), term(kTermMaxZ)) > kFirstOrder) {
    return o_limit(p, a, term);
  }
  const double o2 = term(kTermValue) * term(kTermValue);
  const double rounding = output_rounding(p, term(kTermValue));
  const double u_p2 = a.u_p * a.u_p;
  const double p_rounding = u_p2 * (a.sums_rounded_p ? term(kTermF) / 3 : term(kTermC2) / 3 + o2);
  const bool equal = equal_addends(term(kTermKeys), term(kTermA), term(kTermC2));
  const double inner =
      a.u_q_inner * a.u_q_inner + a.u_operand * a.u_operand + 4 * r.dequantized * r.dequantized;
  const double sums = 3 * chain_variance(r.n_qk, a.acc_truncates) * term(kTermB2) +
                      chain_variance(r.n_pv, a.acc_truncates, equal, term(kTermAlike)) *
                          (o2 / 3 + term(kTermC2) / 6);
  const double row_sum = r.block + r.blocks;
  const double products = equal ? term(kTermA) * term(kTermA) : term(kTermC2);
  const double flushed = flushing(p, a, term(kTermKeys)) + underflow(p, term(kTermKeys));
  const double steps = part_of(a.u_q_step * a.u_q_step, term(kTermZ2)) + page_variance(a, term);
  return std::sqrt(rounding * rounding / 3 + p_rounding +
                   (1 + r.blocks) * a.u_exp * a.u_exp * term(kTermF) +
                   r.eta * r.eta * term(kTermV2) / 3 + a.u_acc * a.u_acc * sums +
                   kU32 * kU32 *
                       (16 * term(kTermE2) +
                        chain_variance(row_sum, false, equal, term(kTermAlikeWeights)) * o2) +
                   a.u_tanh * a.u_tanh * term(kTermG2) + inner * term(kTermB2) +
                   (a.u_operand * a.u_operand / 3 + 4 * r.dequantized * r.dequantized) * products +
                   flushed * flushed + steps);
}

double lse_limit(const AttentionProblem& p, const Arithmetic& a, const ElementTerms& term) {
  const double keys = term(kLseKeys);
  const RowArithmetic r(p, a, keys);
  const LogitError unit = logit_error(a, r);
  const double logits = unit.x * term(kLseX) + unit.y * term(kLseY) + unit.t * term(kLseT) +
                        part_of(unit.z, term(kLseZ));
  const double sum = (1 + r.blocks) * a.u_exp + (r.block + r.blocks) * kU32 +
                     (a.sums_rounded_p ? a.u_p : 0) + r.eta * keys * term(kLseInverseSum);
  // The logarithm is good to an ulp, and m may pass through units of log 2.
  const double logarithm = 2 * kU32 * (term(kLseMax) + term(kLseLogSum));
  return logits * beyond_first_order(unit, term(kLseMaxX), term(kLseMaxY), term(kLseMaxZ)) + sum +
         logarithm + kU32 * std::abs(term(kLseValue)) + flushing(p, a, keys);
}

}  // namespace

Bounds attention_bound(const Problem& problem, int output, const Terms& terms,
                       const Arithmetic& arithmetic) {
  const AttentionProblem p = AttentionProblem::from(problem);
  Bounds bounds;
  bool placed = false;
  const std::size_t count = terms.column[0].size();
  for (std::size_t at = 0; at < count; ++at) {
    const ElementTerms term(terms, at);
    const bool is_o = output == kAttentionO;
    const int flags = static_cast<int>(term(is_o ? int{kTermFlags} : int{kLseFlags}));
    bounds.placement.push_back(placement_of(flags, arithmetic));
    placed = placed || bounds.placement.back() != Placement::kExact;
    if (!is_o) {
      bounds.det.push_back(std::isfinite(term(kLseValue)) ? lse_limit(p, arithmetic, term) : 0);
      continue;
    }
    const bool finite = std::isfinite(term(kTermValue));
    const bool empty = term(kTermA) == 0 && term(kTermD) == 0;
    bounds.det.push_back(finite && !empty ? o_limit(p, arithmetic, term) : 0);
    bounds.stat.push_back(finite && !empty ? o_scale(p, arithmetic, term) : 0);
    bounds.independent += static_cast<std::int64_t>(term(kTermFirst));
  }
  if (!placed) bounds.placement.clear();
  return bounds;
}

}  // namespace pareto
