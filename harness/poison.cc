#include "harness/poison.h"

#include <cstddef>
#include <cstring>

namespace pareto {
namespace {

template <typename T>
void fill_with(const Tensor& output, T pattern) {
  const std::int64_t count = output.elements();
  for (std::int64_t i = 0; i < count; ++i) {
    std::memcpy(output.data + i * static_cast<std::int64_t>(sizeof(T)), &pattern, sizeof(T));
  }
}

// Little-endian: the pattern's low bytes come first, whatever the element's size.
template <typename T>
std::int64_t count_of(const Tensor& output, T pattern, std::int64_t* first) {
  const std::int64_t elements = output.elements();
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < elements; ++i) {
    T bits;
    std::memcpy(&bits, output.data + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    if (bits != pattern) continue;
    if (count++ == 0 && first != nullptr) *first = i;
  }
  return count;
}

/// Quiet NaNs whose payload no operation makes up; a sentinel for integers.
std::uint64_t poison_pattern(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 0x7FFDA5A5A5A5A5A5U;
    case DType::kF32:
      return 0x7FEDA5A5U;
    case DType::kBf16:
      return 0x7FEDU;
    case DType::kF16:
      return 0x7EEDU;
    case DType::kE4m3:
    case DType::kE5m2:
      return 0x7FU;
    case DType::kS8:
    case DType::kU8:
      return 0xA5U;
    case DType::kS32:
      return 0xA5A5A5A5U;
    case DType::kS64:
      return 0xA5A5A5A5A5A5A5A5U;
  }
  return 0;
}

}  // namespace

void poison(const Tensor& output) {
  const std::uint64_t pattern = poison_pattern(output.dtype);
  switch (size_of(output.dtype)) {
    case 8:
      return fill_with(output, pattern);
    case 4:
      return fill_with(output, static_cast<std::uint32_t>(pattern));
    case 2:
      return fill_with(output, static_cast<std::uint16_t>(pattern));
    default:
      return fill_with(output, static_cast<std::uint8_t>(pattern));
  }
}

std::uint64_t poison_word(DType dtype) {
  std::uint64_t word = poison_pattern(dtype);
  for (std::size_t bytes = size_of(dtype); bytes < sizeof(word); bytes *= 2) {
    word |= word << (8 * bytes);
  }
  return word;
}

bool is_poison(const Tensor& output, std::int64_t i) {
  const std::uint64_t pattern = poison_pattern(output.dtype);
  const std::size_t size = size_of(output.dtype);
  // Little-endian: the pattern's low bytes come first, whatever the element's size.
  return std::memcmp(output.data + static_cast<std::size_t>(i) * size, &pattern, size) == 0;
}

std::int64_t count_poison(const Tensor& output, std::int64_t* first) {
  if (first != nullptr) *first = -1;
  const std::uint64_t pattern = poison_pattern(output.dtype);
  switch (size_of(output.dtype)) {
    case 8:
      return count_of(output, pattern, first);
    case 4:
      return count_of(output, static_cast<std::uint32_t>(pattern), first);
    case 2:
      return count_of(output, static_cast<std::uint16_t>(pattern), first);
    default:
      return count_of(output, static_cast<std::uint8_t>(pattern), first);
  }
}

}  // namespace pareto
