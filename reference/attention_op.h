// The parts of op attention, one source file each: reference/attention_<part>.cc.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "harness/op.h"
#include "reference/attention.h"

namespace pareto {

/// Sizes first, then options, with eval.md's defaults.
std::span<const Key> attention_keys();
/// InputError for sizes that do not go together.
void attention_check(const AttentionProblem& p);

/// Original inputs from a distribution; besides the common ones "one_hot" and "equal_weights"
/// (exact), "planted" (dominant keys at tile borders and at the edges of the mask), "unseen" (NaN
/// and infinities wherever no row looks), "nonfinite" (some that are seen, too) and "subnormal"
/// (queries).
TensorMap attention_draw(const Problem& problem, const Draw& draw);

/// Brings tensors of a file to the element types of eval.md: integers of other widths are
/// converted, everything else is an InputError that names the dataset.
void attention_normalize(TensorMap& inputs);
/// See Op::adopt, Op::narrow and Op::vary.
void attention_adopt(Problem& problem, TensorMap& inputs);
void attention_narrow(const Problem& problem, TensorMap& inputs);
void attention_vary(const Problem& problem, TensorMap& inputs, std::int64_t content);

/// See Op::encode.
Operands attention_encode(const Problem& problem, const TensorMap& inputs);

/// See Op::reference and Op::original.
ReferenceTerms attention_reference(const Problem& problem, const Operands& operands,
                                   const Positions& positions, int threads);
std::vector<std::vector<double>> attention_original(const Problem& problem, const TensorMap& inputs,
                                                    const Positions& positions, int threads);

/// See Op::bound.
Bounds attention_bound(const Problem& problem, int output, const Terms& terms,
                       const Arithmetic& arithmetic);

/// See Op::battery, Op::mutants and Op::mutate.
std::vector<BatteryInput> attention_battery(const Problem& like);
std::vector<Mutant> attention_mutants(const Problem& like);
Outputs attention_mutate(std::string_view mutant, const Problem& problem, const Operands& operands);

/// See Op::outputs.
std::vector<OutputSpec> attention_outputs(const Problem& problem, const Operands& operands);

/// True if one_hot inputs of this problem are exact: logits can be pushed 200 apart.
bool one_hot_is_exact(const AttentionProblem& p);
/// Keys that one_hot can tell apart with this head_dim.
std::int64_t one_hot_capacity(std::int64_t head_dim);

/// See Op::work and Op::estimate.
Work attention_work(const AttentionProblem& p, const Operands& operands);
Work attention_estimate(const AttentionProblem& p);
/// Sum over all rows of the keys they see, with `allowed`, of one problem's operands.
double attention_visible_keys(const AttentionProblem& p, std::span<const Tensor> in);

/// One flag per row of slot k (see AttentionSequence): does any row of q see that key?
std::vector<std::uint8_t> attention_seen_rows(const AttentionProblem& p, const AttentionTables& t,
                                              const Tensor& allowed, std::int64_t kv_rows);

/// What rounding P to one kind of PageCodes may do.
enum PageTerm : int {
  kPageLoss,   ///< Σ r|v|, r the most that p loses
  kPageLoss2,  ///< Σ r²v²
  kPageGone,   ///< Σ p|v| over weights that may round to 0
  kPageTerms,
};

/// Columns of Terms. Sums run over the keys that a row sees and its sink (a key with v = 0); p are
/// the weights, o the output; see attention_bound.cc.
enum AttentionTerm : int {
  kTermValue,
  kTermA,      ///< Σ p|v|
  kTermC2,     ///< Σ p²v²
  kTermD,      ///< Σ p|v−o|
  kTermB,      ///< Σ p|v−o|·x, x = |scale|·|q|ᵀ|k|
  kTermE,      ///< Σ p|v−o|·y, y = |s−m| + |m| + |alibi| + |bias|
  kTermG,      ///< Σ p|v−o|·t, t = |logit| after softcap
  kTermB2,     ///< Σ p²(v−o)²x²
  kTermE2,     ///< Σ p²(v−o)²y²
  kTermG2,     ///< Σ p²(v−o)²t²
  kTermF,      ///< Σ p²(v−o)²
  kTermV,      ///< Σ |v| / l
  kTermV2,     ///< Σ v² / l²
  kTermZ,      ///< Σ p|v−o|·z, z = |scale|·max|q|·Σ|k|
  kTermZ2,     ///< Σ p²(v−o)²z²
  kTermAlike,  ///< how likely two products p·v are equal
  kTermPage,   ///< kPageCodes times PageTerm
  kTermKeys = kTermPage + kPageCodes * kPageTerms,  ///< keys between the first and the last that
                                                    ///< masks leave
  kTermMaxX,  ///< largest x, y and z among keys whose weight is not negligible
  kTermMaxY,
  kTermMaxZ,
  kTermAlikeWeights,  ///< how likely two weights are equal
  kTermFlags,         ///< of AttentionFlag
  kTermFirst,         ///< 1 at the first compared element of a row, else 0
  kTermCount,
};

/// Columns of the LSE's Terms besides kLseValue: Σ p·x, Σ p·y, Σ p·t, Σ p·z, keys, |m|, ln l, 1/l,
/// largest x, y and z, flags.
enum AttentionLseTerm : int {
  kLseValue,
  kLseX,
  kLseY,
  kLseT,
  kLseZ,
  kLseKeys,
  kLseMax,
  kLseLogSum,
  kLseInverseSum,
  kLseMaxX,
  kLseMaxY,
  kLseMaxZ,
  kLseFlags,
  kLseTermCount,
};

/// Why an element's placement is not exact.
enum AttentionFlag : int {
  kFlagNonFinite = 1,  ///< non-finite, of either kind
  kFlagAnything = 2,   ///< eval.md leaves it open, or fp32 overflows
  kFlagLeak = 4,       ///< another row of the same KV head sees a non-finite v in this column
};

}  // namespace pareto
