// 64-byte aligned memory of a variant: packed weights and workspace, counted by the harness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

namespace pareto {

/// Raw counted allocation; zero-filled, transparent huge pages from 2 MiB on. Throws MachineError.
std::byte* allocate_counted(std::size_t bytes);
void free_counted(std::byte* data, std::size_t bytes) noexcept;
/// Bytes that AlignedBuffers hold at the moment, in this process.
std::size_t counted_bytes();

/// `count` elements of a trivial type, aligned to 64 bytes, with 64 readable bytes behind the end.
template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::int64_t count)
      : count_(count), data_(reinterpret_cast<T*>(allocate_counted(bytes()))) {}
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : count_(std::exchange(other.count_, 0)), data_(std::exchange(other.data_, nullptr)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(count_, other.count_);
    std::swap(data_, other.data_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() {
    if (data_ != nullptr) free_counted(reinterpret_cast<std::byte*>(data_), bytes());
  }

  [[nodiscard]] T* data() { return data_; }
  [[nodiscard]] const T* data() const { return data_; }
  [[nodiscard]] std::int64_t size() const { return count_; }
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(count_) * sizeof(T); }
  [[nodiscard]] std::span<T> span() { return {data_, static_cast<std::size_t>(count_)}; }
  T& operator[](std::int64_t i) { return data_[i]; }
  const T& operator[](std::int64_t i) const { return data_[i]; }

 private:
  std::int64_t count_ = 0;
  T* data_ = nullptr;
};

}  // namespace pareto
