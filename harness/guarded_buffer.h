// Host memory for operands and outputs that notices every byte read or written outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "harness/tensor_memory.h"

namespace pareto {

/// Owns one tensor's memory. An absent tensor (rank 0) needs none. Throws MachineError when memory
/// is exhausted.
class GuardedBuffer : public TensorMemory {
 public:
  GuardedBuffer() = default;
  /// `label` names it in messages and in faults: "operand w (slot 1)".
  GuardedBuffer(std::string label, DType dtype, const Shape& shape, Layout layout);
  GuardedBuffer(GuardedBuffer&& other) noexcept;
  GuardedBuffer& operator=(GuardedBuffer&& other) noexcept;
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  ~GuardedBuffer() override;

  [[nodiscard]] const Tensor& view() const override { return view_; }
  [[nodiscard]] const std::string& label() const override { return label_; }
  void fill(const Tensor& source) override;
  void read(const Tensor& into) const override;
  void poison() override;
  /// What a fault says comes from describe_fault.
  void allow(Access access) override;
  [[nodiscard]] std::string damage() const override;
  [[nodiscard]] std::uint64_t content_hash() const override;
  void append_sample(std::vector<std::uint64_t>& bits) const override;

 private:
  void allocate_guarded(Layout layout);
  void allocate_timed();
  void map_pages(std::size_t bytes, int protection);
  void paint_canaries();
  void register_region();
  std::string label_;
  Tensor view_;
  std::byte* map_ = nullptr;  ///< whole mapping, guard pages included
  std::size_t map_bytes_ = 0;
  std::byte* open_ = nullptr;  ///< the part between the guard pages
  std::size_t open_bytes_ = 0;
  int region_ = -1;  ///< entry in the table that describe_fault reads
};

/// Puts what an access to `address` means into `text` ("read 4 bytes past the end of operand w
/// (slot 1)"); empty if no GuardedBuffer lies there. Async-signal-safe.
void describe_fault(const void* address, bool write, char* text, std::size_t size) noexcept;

}  // namespace pareto
