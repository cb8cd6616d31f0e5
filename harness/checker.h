// What the outputs of one problem on given operands must be, and whether they are.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/bound_test.h"
#include "harness/error_metrics.h"
#include "harness/op.h"

namespace pareto {

/// The reference of one set of operands; independent of the variant.
struct Expected {
  Problem problem;
  std::vector<OutputSpec> outputs;
  Positions positions;
  std::shared_ptr<const ReferenceTerms> terms;
  bool exact = false;
  bool operands_finite = true;
};

/// Reference terms through the cache. `seed` picks the positions of big problems.
Expected expect(const Problem& problem, const Operands& operands, bool exact, std::uint64_t seed,
                int threads);

/// Bounds of every output under a declared arithmetic.
std::vector<Bounds> bounds_of(const Expected& expected, const Arithmetic& arithmetic);

/// One verdict over all outputs (host tensors, in the order of Op::outputs): the first that fails,
/// else the largest ratios of all. `n_compared` adds up.
Verdict verify(const Expected& expected, std::span<const Bounds> bounds,
               std::span<const Tensor> got);

/// Views of host tensors.
std::vector<Tensor> views_of(std::span<const HostTensor> tensors);

/// The first output (y, o) at its compared positions as doubles: what errors are computed from.
/// Further outputs (lse, acc) are checked but not mixed into one norm with it.
std::vector<double> values_at(const Expected& expected, std::span<const Tensor> got);
/// The reference at the same places.
std::vector<double> values_of(const Expected& expected);

/// True if every present floating-point operand is finite throughout.
bool all_finite(const Operands& operands);

}  // namespace pareto
