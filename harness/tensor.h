// Dense row-major tensors of the element types that kernels exchange with the harness.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pareto {

enum class DType : std::uint8_t { kF64, kF32, kBf16, kF16, kE4m3, kE5m2, kS8, kU8, kS32, kS64 };

/// Bytes of one element.
std::size_t size_of(DType dtype);
/// "fp32", "bf16", … as eval.md spells them.
std::string_view name_of(DType dtype);

/// Up to five extents, outermost first.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents);
  explicit Shape(std::span<const std::int64_t> extents);
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] std::int64_t operator[](int axis) const { return extent_[axis]; }
  [[nodiscard]] std::int64_t elements() const {
    std::int64_t count = 1;
    for (int axis = 0; axis < rank_; ++axis) count *= extent_[static_cast<std::size_t>(axis)];
    return count;
  }
  [[nodiscard]] std::string text() const;  ///< "[16, 384]"
  bool operator==(const Shape&) const = default;

 private:
  static constexpr int kMaxRank = 5;
  std::array<std::int64_t, kMaxRank> extent_{};
  int rank_ = 0;
};

/// A view: host memory unless its variant runs on a device. Contiguous, row-major, aligned to its
/// element only. Absent operands have `data == nullptr` and rank 0.
struct Tensor {
  DType dtype = DType::kF32;
  Shape shape;
  std::byte* data = nullptr;

  [[nodiscard]] bool present() const { return shape.rank() > 0; }
  [[nodiscard]] std::int64_t elements() const { return present() ? shape.elements() : 0; }
  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(elements()) * size_of(dtype);
  }
  /// Typed access; T must have the element's size (uint16_t for bf16 and fp16, uint8_t for fp8).
  template <typename T>
  [[nodiscard]] T* as() const {
    return reinterpret_cast<T*>(data);
  }
  template <typename T>
  [[nodiscard]] std::span<T> span() const {
    return {as<T>(), static_cast<std::size_t>(elements())};
  }
};

/// A tensor that owns its memory (zero-initialised, 64-byte aligned).
class HostTensor {
 public:
  HostTensor() = default;
  HostTensor(DType dtype, const Shape& shape);
  HostTensor(const HostTensor& other);
  HostTensor& operator=(const HostTensor& other);
  HostTensor(HostTensor&& other) noexcept;
  HostTensor& operator=(HostTensor&& other) noexcept;
  ~HostTensor();

  [[nodiscard]] const Tensor& view() const { return view_; }
  [[nodiscard]] DType dtype() const { return view_.dtype; }
  [[nodiscard]] const Shape& shape() const { return view_.shape; }
  [[nodiscard]] bool present() const { return view_.present(); }
  [[nodiscard]] std::int64_t elements() const { return view_.elements(); }
  template <typename T>
  [[nodiscard]] std::span<T> span() const {
    return view_.span<T>();
  }
  /// Element `i` as a double, whatever the type (exact for every type but s64).
  [[nodiscard]] double value(std::int64_t i) const;

 private:
  Tensor view_;
};

/// Element `i` of a view as a double.
double value_at(const Tensor& tensor, std::int64_t i);

/// Named tensors, as the files of `pareto eval` hold them.
using TensorMap = std::map<std::string, HostTensor>;

}  // namespace pareto
