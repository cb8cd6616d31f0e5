// Numerical agreement of one variant: the battery of its op, its own inputs, and the tricks.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/checker.h"
#include "harness/thread_pool.h"
#include "harness/variant.h"

namespace pareto {

enum class CheckStatus : std::uint8_t { kPass, kFail, kUntrusted, kNotChecked };
/// "pass" "fail" "untrusted" "not_checked", as stored.
std::string_view name_of(CheckStatus status);

/// One input of the case itself.
struct CheckInput {
  std::string name;  ///< "normal seed 1 content 0"
  Operands operands;
  Operands other;  ///< another content with the same persistent slots; empty: none
};

struct CheckOptions {
  bool battery = true;                   ///< run the op's battery; else only `own`
  bool mutants = true;                   ///< test the battery itself (mutant_trust.h)
  bool compare = true;                   ///< false: only run the battery, for a tool that watches
  std::vector<CheckInput> own;           ///< inputs of the problem as it is
  std::vector<int> pool_sizes = {1, 2};  ///< further teams, besides the caller's
  std::uint64_t seed = 1;                ///< of the positions of big problems
  std::string repeat_line;  ///< command that repeats the check; empty: made up from the case
};

/// What one input showed.
struct InputReport {
  std::string input;
  std::string skipped;  ///< why the variant does not take it; empty if it was checked
  Verdict verdict;
};

struct CheckReport {
  CheckStatus status = CheckStatus::kNotChecked;
  /// exact, bound, rms, repeat, written, operands, guard, "fp environment", threads, nonfinite,
  /// cached, late, allocation, exception or mutants; empty on pass.
  std::string check;
  std::string message;  ///< full text for people; empty on pass
  std::vector<InputReport> inputs;
  double bound_max = 0;     ///< largest over all inputs
  double bound_median = 0;  ///< of the own input if there is one, else of the last input
  double rms_ratio = 0;     ///< largest over all inputs
  std::int64_t n_compared = 0;
  double spread = 0;  ///< largest |difference| between repeats, if not deterministic

  /// True if the variant took at least one input.
  [[nodiscard]] bool any_input_taken() const;
};

/// Checks `variant` on `problem` in this process: a crash of the variant is a crash of the caller
/// (see check_isolated). Never throws for what the variant does.
CheckReport check_variant(const Variant& variant, const Problem& problem, ThreadPool& pool,
                          const CheckOptions& options);

/// The same in a child process with its own pool of `threads`; a crash or a hang is a failed check
/// that says what was touched. Call it before this process has started threads.
CheckReport check_isolated(const Variant& variant, const Problem& problem, int threads,
                           const CheckOptions& options, double timeout_s);

/// "pareto check '^qgemm/avx512 .* activation=relu '": the line that repeats a check.
std::string check_command(const Variant& variant, const Problem& problem);

/// Text form that crosses a pipe.
std::string to_json(const CheckReport& report);
CheckReport check_report_from_json(const std::string& text);

/// Own inputs drawn from a distribution: content 0 and, with the same persistent slots, content 1.
CheckInput own_input(const Problem& problem, const Draw& draw);

/// Slots that outlive a call from `first`, the others from `second`; empty if shapes differ.
Operands with_persistent_of(const Problem& problem, const Operands& first, const Operands& second);

}  // namespace pareto
