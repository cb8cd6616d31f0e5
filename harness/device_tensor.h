// Device memory for operands and outputs that notices bytes written outside.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "harness/tensor_memory.h"

namespace pareto {

/// 256-byte aligned. Layout kGuardBefore is an allocation of exactly the tensor's bytes, so that
/// compute-sanitizer sees every access outside; the others have canaries on both sides, of bits
/// that are NaN in every floating-point type: what is read there shows in the result.
class DeviceTensor : public TensorMemory {
 public:
  DeviceTensor(std::string label, DType dtype, const Shape& shape, Layout layout);
  ~DeviceTensor() override;
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  [[nodiscard]] const Tensor& view() const override { return view_; }
  [[nodiscard]] const std::string& label() const override { return label_; }
  void fill(const Tensor& source) override;
  void read(const Tensor& into) const override;
  void poison() override;
  /// Devices protect nothing: changed operands are noticed by their hash.
  void allow(Access /*access*/) override {}
  [[nodiscard]] std::string damage() const override;
  [[nodiscard]] std::uint64_t content_hash() const override;
  void append_sample(std::vector<std::uint64_t>& bits) const override;

 private:
  [[nodiscard]] std::size_t broken_bytes(const std::byte* canary) const;
  std::string label_;
  Tensor view_;
  std::size_t canary_bytes_ = 0;  ///< on each side
  std::byte* block_ = nullptr;
};

}  // namespace pareto
