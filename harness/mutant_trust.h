// Tests the checker: wrong results made on purpose must be rejected by the battery.
#pragma once

#include <string>
#include <vector>

#include "harness/op.h"

namespace pareto {

/// What became of one mutant.
struct MutantOutcome {
  std::string mutant;
  std::string not_applicable;  ///< the reason; empty if it applies
  std::string rejected_by;     ///< input and check that rejected it first; empty: it got through
};

struct MutantTrust {
  std::vector<MutantOutcome> outcomes;
  /// Names of the applicable mutants that no input rejected, separated by ", "; empty: trusted.
  [[nodiscard]] std::string survivors() const;
};

/// Every mutant of `problem` against a battery under a declared arithmetic. Results are remembered
/// for the life of the process.
const MutantTrust& mutant_trust(const Problem& problem, const std::vector<BatteryInput>& battery,
                                const Arithmetic& arithmetic, int threads);
/// The same against the op's whole battery.
const MutantTrust& mutant_trust(const Problem& problem, const Arithmetic& arithmetic, int threads);

}  // namespace pareto
