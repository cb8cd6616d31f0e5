// One input of a check: every layout, every team, repeats, and what a call may leave behind.
#pragma once

#include <span>
#include <string>

#include "harness/check_battery.h"

namespace pareto {

/// The input as checked: two contents with the same persistent slots, and their references.
struct InputCase {
  std::string name;
  Problem problem;
  Operands operands;
  Operands other;  ///< empty: no second content
  Expected expected;
  Expected other_expected;
};

/// What a failed check says, and what was measured on the way.
struct InputOutcome {
  std::string check;  ///< empty: passed
  std::string message;
  Verdict verdict;    ///< of the first content
  double spread = 0;  ///< largest difference between repeats (not deterministic variants)
};

/// Runs `variant` on the input with every team of `pools`, each buffer first beginning and then
/// ending at a guard page. Throws what `prepare` throws.
InputOutcome check_input(const Variant& variant, const InputCase& input,
                         std::span<ThreadPool* const> pools);

/// "; looks like last_k_tile_dropped" if the wrong result resembles one of the op's mutants.
std::string resemblance(const InputCase& input, std::span<const Tensor> got);

}  // namespace pareto
