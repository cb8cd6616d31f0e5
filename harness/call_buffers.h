// The memory of one call: operands and outputs in one layout, with their guards.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/op.h"
#include "harness/tensor_memory.h"
#include "harness/variant.h"

namespace pareto {

/// Operand slots as a variant sees them: `prepare` gets those that outlive a call, `run` the
/// others, and all if the variant keeps its operands. Those of a CUDA variant lie on the device.
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
  /// Other outputs of the same kind, made at the first use, for calls whose result nobody wants.
  [[nodiscard]] std::span<const Tensor> scratch();

  /// The variant made ready, and everything that this started on a device finished.
  [[nodiscard]] std::unique_ptr<Prepared> prepare(const Variant& variant, const Problem& problem,
                                                  ThreadPool& pool) const;
  /// One call, to the end of its work on a device.
  void run(Prepared& prepared, ThreadPool& pool) const { run(prepared, pool, out_); }
  void run(Prepared& prepared, ThreadPool& pool, std::span<const Tensor> out) const;

  /// Other contents at the same addresses: only the slots that do not outlive a call.
  void load_transient(const Operands& operands);
  /// After `prepare`: operands become read-only, and unreadable where `run` must not look.
  void seal();
  void unseal();
  /// Frees the operands that `run` does not see; call after `prepare`.
  void release_unseen();

  void poison_outputs();
  void fill_outputs(const Outputs& outputs);
  [[nodiscard]] Outputs copy_outputs() const;
  /// What shows quickly that somebody is still writing to the outputs.
  [[nodiscard]] std::vector<std::uint64_t> output_sample() const;
  /// "" or the first broken canary or changed operand, by name.
  [[nodiscard]] std::string damage() const;
  [[nodiscard]] std::size_t bytes() const;
  [[nodiscard]] bool on_device() const { return on_device_; }

 private:
  using Memory = std::unique_ptr<TensorMemory>;
  [[nodiscard]] Memory allocate(std::string label, DType dtype, const Shape& shape,
                                Layout layout) const;
  void refresh_views();
  [[nodiscard]] std::string output_aliasing(const TensorMemory& operand) const;
  bool on_device_;
  bool keeps_operands_;
  std::vector<bool> outlives_;
  std::vector<Memory> operand_;  ///< null: absent, or released
  std::vector<std::uint64_t> hash_;
  std::vector<Memory> output_;
  std::vector<Memory> scratch_;
  std::vector<Tensor> persistent_;
  std::vector<Tensor> in_;
  std::vector<Tensor> out_;
  std::vector<Tensor> scratch_views_;
};

}  // namespace pareto
