#include "harness/aligned_buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "harness/allocation_count.h"
#include "harness/errors.h"

namespace pareto {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kReadableBehind = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20U;
constexpr std::size_t kLimit = std::size_t{1} << 46U;  // far beyond any machine; keeps sums exact

std::atomic<std::size_t> counted{0};

std::size_t padded(std::size_t bytes, std::size_t multiple) {
  return (bytes + kReadableBehind + multiple - 1) / multiple * multiple;
}

bool is_mapped(std::size_t bytes) { return bytes >= kHugePage; }

std::byte* map_huge(std::size_t bytes) {
  const std::size_t size = padded(bytes, kHugePage);
  // One huge page more than needed, then the ends are cut off so that the start is aligned.
  void* raw =
      mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(raw);
  const std::size_t skip =
      (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
  if (skip > 0) munmap(begin, skip);
  if (skip < kHugePage) munmap(begin + skip + size, kHugePage - skip);
  madvise(begin + skip, size,
          MADV_HUGEPAGE);  // a kernel without huge pages may refuse: slower only
  return begin + skip;
}

}  // namespace

std::byte* allocate_counted(std::size_t bytes) {
  std::byte* data = nullptr;
  if (bytes < kLimit && is_mapped(bytes)) {
    data = map_huge(bytes);
  } else if (bytes < kLimit) {
    const std::size_t size = padded(bytes, kAlignment);
    data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, size));
    if (data != nullptr) std::memset(data, 0, size);
  }
  if (data == nullptr) {
    throw MachineError(fmt::format("cannot allocate {} bytes ({} are held already): {}", bytes,
                                   counted_bytes(), std::strerror(ENOMEM)));
  }
  count_allocated(bytes);
  return data;
}

void free_counted(std::byte* data, std::size_t bytes) noexcept {
  if (data == nullptr) return;
  count_freed(bytes);
  if (is_mapped(bytes)) {
    munmap(data, padded(bytes, kHugePage));
  } else {
    std::free(data);
  }
}

std::size_t counted_bytes() { return counted.load(std::memory_order_relaxed); }

void count_allocated(std::size_t bytes) noexcept {
  counted.fetch_add(bytes, std::memory_order_relaxed);
}

void count_freed(std::size_t bytes) noexcept {
  counted.fetch_sub(bytes, std::memory_order_relaxed);
}

}  // namespace pareto
