// Host memory for operands and outputs that notices every byte read or written outside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "harness/tensor.h"

namespace pareto {

/// Where the bytes of a buffer lie. Every layout promises alignment to the element only.
enum class Layout : std::uint8_t {
  kGuardBefore,  ///< the first byte follows an inaccessible page
  kGuardAfter,   ///< the last byte precedes an inaccessible page
  kTimed,        ///< canaries on both sides, 64-byte aligned, huge pages from 2 MiB on; no guards
};

enum class Access : std::uint8_t { kNone, kRead, kReadWrite };

/// Owns one tensor's memory. An absent tensor (rank 0) needs none. Throws MachineError when memory
/// is exhausted.
class GuardedBuffer {
 public:
  GuardedBuffer() = default;
  /// `label` names it in messages and in faults: "operand w (slot 1)".
  GuardedBuffer(std::string label, DType dtype, const Shape& shape, Layout layout);
  GuardedBuffer(GuardedBuffer&& other) noexcept;
  GuardedBuffer& operator=(GuardedBuffer&& other) noexcept;
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  ~GuardedBuffer();

  [[nodiscard]] const Tensor& view() const { return view_; }
  [[nodiscard]] const std::string& label() const { return label_; }
  /// Copies `source` (same dtype and shape) into the buffer, which must be writable.
  void fill(const Tensor& source);
  /// A forbidden access faults, and the fault is described by name (describe_fault). Guarded
  /// layouts only: protection works on whole pages.
  void allow(Access access);
  /// "" or "4 bytes before output y (output 0) were overwritten".
  [[nodiscard]] std::string damage() const;
  /// Hash of the tensor's bytes.
  [[nodiscard]] std::uint64_t content_hash() const;

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
