// Memory of one operand or output of a call, wherever its variant runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/tensor.h"

namespace pareto {

/// Where the bytes lie. On the host every layout promises alignment to the element only.
enum class Layout : std::uint8_t {
  kGuardBefore,  ///< the first byte follows an inaccessible page
  kGuardAfter,   ///< the last byte precedes an inaccessible page
  kTimed,        ///< canaries on both sides, 64-byte aligned, huge pages from 2 MiB on; no guards
};

enum class Access : std::uint8_t { kNone, kRead, kReadWrite };

class TensorMemory {
 public:
  virtual ~TensorMemory() = default;
  /// As the variant gets it: a pointer of its own address space.
  [[nodiscard]] virtual const Tensor& view() const = 0;
  /// Names it in messages and in faults: "operand w (slot 1)".
  [[nodiscard]] virtual const std::string& label() const = 0;
  /// Copies a host tensor (same dtype and shape) into the memory, which must be writable.
  virtual void fill(const Tensor& source) = 0;
  /// Copies the contents into a host tensor (same dtype and shape).
  virtual void read(const Tensor& into) const = 0;
  /// See poison.h.
  virtual void poison() = 0;
  /// A forbidden access faults, and the fault is described by name. Guarded layouts on the host
  /// only: protection works on whole pages.
  virtual void allow(Access access) = 0;
  /// "" or "4 bytes before output y (output 0) were overwritten".
  [[nodiscard]] virtual std::string damage() const = 0;
  /// Hash of the tensor's bytes; comparable with those of the same kind of memory.
  [[nodiscard]] virtual std::uint64_t content_hash() const = 0;
  /// Appends what can be read within a microsecond or two of a call's end and still shows that
  /// somebody is writing: bits of elements spread over the tensor, or a hash.
  virtual void append_sample(std::vector<std::uint64_t>& bits) const = 0;
};

}  // namespace pareto
