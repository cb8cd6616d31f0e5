// The different inputs that timed calls of one problem see, with everything known about them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/case.h"
#include "harness/checker.h"
#include "harness/error_metrics.h"
#include "harness/sign_flips.h"

namespace pareto {

/// Inputs of one problem from one source. Contents differ in what arrives with each call; what
/// outlives a call (weights) is that of content 0 in all of them. From three on, the last is the
/// twin of content 0: it differs by the sign of one element.
class Contents {
 public:
  /// Draws or reads `count` contents. InputError and CannotRunError as Op::encode throws them.
  Contents(const Problem& problem, const Source& source, int count, int threads);

  [[nodiscard]] const Problem& problem() const { return problem_; }
  [[nodiscard]] int count() const { return static_cast<int>(operands_.size()); }
  [[nodiscard]] const Operands& operands(int content) const { return operands_[content]; }
  /// Where the twins differ.
  [[nodiscard]] const FlipPlace& twin_place() const { return twin_; }
  /// The content that differs from `content` by one element; −1: none does.
  [[nodiscard]] int twin_of(int content) const;
  /// The fp64 reference on the operands; computed at the first use, through the cache.
  const Expected& expected(int content);
  /// Of content 0 at a few positions drawn by chance, which nobody can know; null if `expected`
  /// compares every element.
  const Expected* unforeseen();
  /// True if something outlives a call, so that sets of operands can hold weights of their own.
  [[nodiscard]] bool has_weights() const;
  /// `operands(content)` with weights rotated by `by`.
  [[nodiscard]] Operands rotated(int content, std::int64_t by) const;
  /// Of these at a few positions drawn by chance, or at all if they are few.
  [[nodiscard]] Expected expected_rotated(int content, std::int64_t by);
  /// The fp64 reference on the original inputs of content 0: the first output at its compared
  /// positions.
  const std::vector<double>& original();
  /// Hash over the operands' bytes of content 0.
  [[nodiscard]] std::string operand_hash() const;
  [[nodiscard]] Work work() const { return problem_.op().work(problem_, operands_[0]); }

 private:
  [[nodiscard]] Expected expected_by_chance(const Operands& operands);

  Problem problem_;
  int threads_;
  std::uint64_t seed_;
  TensorMap inputs_;  ///< of content 0
  std::vector<Operands> operands_;
  FlipPlace twin_;
  std::vector<std::unique_ptr<Expected>> expected_;
  std::unique_ptr<Expected> unforeseen_;
  std::vector<double> original_;
  bool has_original_ = false;
};

/// How far an output is from the truth, three ways; see the table of words in README.md.
struct Agreement {
  ErrorMetrics total;        ///< against the reference on the original inputs
  ErrorMetrics kernel;       ///< against the reference on the operands
  ErrorMetrics compression;  ///< one reference against the other
};

/// Agreement of the outputs `got` of content 0.
Agreement agreement_of(Contents& contents, std::span<const Tensor> got);

}  // namespace pareto
