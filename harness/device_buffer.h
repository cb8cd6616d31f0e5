// Device memory of a variant: packed weights and workspace, counted by the harness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "harness/allocation_count.h"
#include "harness/device.h"

namespace pareto {

/// `count` elements of device memory, 256-byte aligned, not initialised.
template <typename T>
class DeviceBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::int64_t count) : count_(count) {
    if (count == 0) return;
    data_ = static_cast<T*>(device().allocate(bytes()));
    count_allocated(bytes());
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : count_(std::exchange(other.count_, 0)), data_(std::exchange(other.data_, nullptr)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(count_, other.count_);
    std::swap(data_, other.data_);
    return *this;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  ~DeviceBuffer() {
    if (data_ == nullptr) return;
    device().release(data_);
    count_freed(bytes());
  }

  /// Device pointer.
  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::int64_t size() const { return count_; }
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(count_) * sizeof(T); }
  /// `host` has `size()` elements.
  void upload(std::span<const T> host) { device().upload(data_, host.data(), host.size_bytes()); }

 private:
  std::int64_t count_ = 0;
  T* data_ = nullptr;
};

}  // namespace pareto
