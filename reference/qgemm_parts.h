// The parts of op qgemm, one file each; qgemm.cc puts them together.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/op.h"
#include "reference/qgemm.h"

namespace pareto {

/// CannotRunError beyond the K at which a sum of products may leave int32.
void check_k_limit(const QgemmProblem& problem);

// qgemm_inputs.cc: original tensors.
void adopt_qgemm(Problem& problem, TensorMap& inputs);
void narrow_qgemm(const Problem& problem, TensorMap& inputs);
void vary_qgemm(const Problem& problem, TensorMap& inputs, std::int64_t content);

// qgemm_draw.cc; "exact", "planted", "subnormal" and "uneven" besides the distributions.
TensorMap draw_qgemm(const Problem& problem, const Draw& draw);
// qgemm_draw_exact.cc: whole numbers and plants that make every scale a power of two.
TensorMap draw_exact_qgemm(const QgemmProblem& problem, const Draw& draw);

// qgemm_encode.cc
Operands encode_qgemm(const Problem& problem, const TensorMap& inputs);

// qgemm_positions.cc
Positions qgemm_positions(const QgemmProblem& problem, std::uint64_t seed);

/// Operands from here on have no subnormal bits, in whatever pieces.
inline constexpr double kFaint = 0x1p-100;

/// Columns of the terms of y, after column 0, the value. An absent bias and activation leave kPre
/// empty: it equals the value. Columns that a scheme has no use for are empty.
enum QgemmTerm : int {
  kTermValue,
  kTermPre,       ///< y before the activation
  kTermZ,         ///< before the bias; empty without one
  kTermAbs,       ///< Σ|a·b|
  kTermSquares,   ///< Σ(a·b)²
  kTermPrefix,    ///< mean over k of the squared prefix sums
  kTermFlushed,   ///< Σ|a·b| where a or b is subnormal in fp32; empty if there is none
  kTermFaint,     ///< the same below 2^-100 = kFaint
  kTermAlike,     ///< how likely two products are equal; empty if none are
  kTermGroupAbs,  ///< Σ|scaled group sums|; this and the next three only where there are several
  kTermGroupSquares,
  kTermGroupPrefix,
  kTermGroupAlike,  ///< share of groups with the sums of the one before; empty if none have
  kTermCount,
};

// qgemm_reference.cc
ReferenceTerms qgemm_reference(const Problem& problem, const Operands& operands,
                               const Positions& positions, int threads);
std::vector<std::vector<double>> qgemm_original(const Problem& problem, const TensorMap& inputs,
                                                const Positions& positions, int threads);

// qgemm_bound.cc
Bounds qgemm_bound(const QgemmProblem& problem, int output, const Terms& terms,
                   const Arithmetic& arithmetic);

// qgemm_battery.cc
std::vector<BatteryInput> qgemm_battery(const Problem& like);

// qgemm_mutants.cc
std::vector<Mutant> qgemm_mutants(const Problem& like);
Outputs mutate_qgemm(std::string_view mutant, const Problem& problem, const Operands& operands);

/// The operands' views, by slot.
std::vector<Tensor> qgemm_views(const Operands& operands);

}  // namespace pareto
