// The parts of op sparse, one file each; sparse.cc puts them together.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "harness/op.h"
#include "reference/sparse.h"

namespace pareto {

/// How W (or, under skip_x, X) is pruned: the keys that kernels need not know.
struct SparsePruning {
  enum class Method : std::uint8_t { kMagnitude, kMagnitudeRow, kNm, kSoftThreshold, kSvd };
  Method method = Method::kMagnitude;
  bool keep = true;     ///< the zeros that are there are the pattern
  double sparsity = 0;  ///< unless keep
  std::int64_t n = 2;
  std::int64_t m = 4;
  double theta = 0;

  static SparsePruning from(const Problem& problem);
};

// sparse_inputs.cc: original tensors.
void adopt_sparse(Problem& problem, TensorMap& inputs);
void narrow_sparse(const Problem& problem, TensorMap& inputs);
void vary_sparse(const Problem& problem, TensorMap& inputs, std::int64_t content);

/// sparse_draw.cc. Besides the distributions, those of the battery:
///   exact        whole numbers, half of the weights zero, every partial sum exact in fp32
///   planted      normal, half of the weights zero, large products at the ends of K and its tiles
///   empty_rows   normal, every other row of the pattern empty
///   one_row      normal, one dense row among empty ones
///   one_column   normal, one dense column, all others empty
///   all_zero     no weight at all
///   dense        whole numbers, no weight is zero (2to4: two of four)
///   non_finite   normal with NaN and ±infinity in x (skip_x: in w), mostly opposite pruned places
/// Weights depend on the seed alone, so that every content has the same pattern.
TensorMap draw_sparse(const Problem& problem, const Draw& draw);

/// sparse_encode.cc
Operands encode_sparse(const Problem& problem, const TensorMap& inputs);

/// Columns of the terms of y. kTermInner and kTermPeak belong to lowrank; kTermFlushed and
/// kTermOpposite are empty where nothing is.
enum class SparseTerm : std::uint8_t {
  kValue,
  kPre,       ///< y before the activation
  kZ,         ///< before the bias
  kAbs,       ///< Σ|a·b|
  kSquares,   ///< Σ(a·b)²
  kPrefix,    ///< mean of the squared prefix sums
  kNonzeros,  ///< products that are not pruned
  kFlushed,   ///< Σ|a·b| where a or b is subnormal in fp32
  kOpposite,  ///< 1 where a non-finite operand stands opposite a pruned one
  kAlike,     ///< how likely two products are equal; empty for lowrank
  kInner,     ///< lowrank: Σ_r a_r²·V_r, V_r the V of the inner product r
  kPeak,      ///< lowrank: largest Σ|b·x| of the inner products
  kCount,
};

/// sparse_rotated.cc, see Op::rotated
Operands rotated_sparse(const Problem& problem, const Operands& operands, std::int64_t by);

// sparse_reference.cc
ReferenceTerms sparse_reference(const Problem& problem, const Operands& operands,
                                const Positions& positions, int threads);
std::vector<std::vector<double>> sparse_original(const Problem& problem, const TensorMap& inputs,
                                                 const Positions& positions, int threads);

// sparse_bound.cc
Bounds sparse_bound(const SparseProblem& problem, const Terms& terms, const Arithmetic& arithmetic);

// sparse_work.cc
/// Multiply-adds without any skipping.
double dense_multiply_adds(const SparseProblem& problem);
Work sparse_work(const Problem& problem, const Operands& operands);
Work sparse_estimate(const Problem& problem);

// sparse_battery.cc
std::vector<BatteryInput> sparse_battery(const Problem& like);

// sparse_mutants.cc
std::vector<Mutant> sparse_mutants(const Problem& like);
Outputs mutate_sparse(std::string_view mutant, const Problem& problem, const Operands& operands);

/// The operands' views, by slot.
std::vector<Tensor> sparse_views(const Operands& operands);

}  // namespace pareto
