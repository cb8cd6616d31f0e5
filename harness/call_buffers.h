// The memory of one call: operands and outputs in one layout, with their guards.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "harness/guarded_buffer.h"
#include "harness/op.h"
#include "harness/variant.h"

namespace pareto {

/// Operand slots as a variant sees them: `prepare` gets those that outlive a call, `run` the
/// others, and all if the variant keeps its operands.
class CallBuffers {
 public:
  /// Allocates and fills every slot of `operands` and every output of `problem`.
  CallBuffers(const Variant& variant, const Problem& problem, const Operands& operands,
              Layout layout);

  /// For `prepare`: slots that do not outlive a call are absent.
  [[nodiscard]] std::span<const Tensor> persistent() const { return persistent_; }
  /// For `run`.
  [[nodiscard]] std::span<const Tensor> in() const { return in_; }
  [[nodiscard]] std::span<const Tensor> out() const { return out_; }

  /// Other contents at the same addresses: only the slots that do not outlive a call.
  void load_transient(const Operands& operands);
  /// After `prepare`: operands become read-only, and unreadable where `run` must not look.
  void seal();
  void unseal();
  /// Frees the operands that `run` does not see; call after `prepare`.
  void release_unseen();

  void poison_outputs();
  [[nodiscard]] Outputs copy_outputs() const;
  /// "" or the first broken canary or changed operand, by name.
  [[nodiscard]] std::string damage() const;
  [[nodiscard]] std::size_t bytes() const;

 private:
  void refresh_views();
  [[nodiscard]] std::string output_aliasing(const GuardedBuffer& operand) const;
  std::vector<bool> outlives_;
  bool keeps_operands_ = false;
  std::vector<GuardedBuffer> operand_;
  std::vector<std::uint64_t> hash_;
  std::vector<GuardedBuffer> output_;
  std::vector<Tensor> persistent_;
  std::vector<Tensor> in_;
  std::vector<Tensor> out_;
};

}  // namespace pareto
