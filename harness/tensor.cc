#include "harness/tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "harness/errors.h"

namespace pareto {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::int64_t kWidestElement = 8;

// A format of `exponent_bits` and `mantissa_bits` with IEEE specials, in the low bits of `bits`.
double decode_ieee(std::uint32_t bits, int exponent_bits, int mantissa_bits) {
  const std::uint32_t mantissa = bits & ((1U << mantissa_bits) - 1);
  const std::uint32_t exponent = (bits >> mantissa_bits) & ((1U << exponent_bits) - 1);
  const bool negative = ((bits >> (mantissa_bits + exponent_bits)) & 1U) != 0;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  double value = 0;
  if (exponent == (1U << exponent_bits) - 1) {
    value = mantissa == 0 ? std::numeric_limits<double>::infinity()
                          : std::numeric_limits<double>::quiet_NaN();
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, 1 - bias - mantissa_bits);
  } else {
    value = std::ldexp(mantissa + (1U << mantissa_bits),
                       static_cast<int>(exponent) - bias - mantissa_bits);
  }
  return negative ? -value : value;
}

// E4M3 as OCP defines it: no infinities, S.1111.111 is NaN.
double decode_e4m3(std::uint8_t bits) {
  if ((bits & 0x7fU) == 0x7fU) return std::numeric_limits<double>::quiet_NaN();
  const int mantissa = bits & 7;
  const int exponent = (bits >> 3) & 15;
  const double value =
      exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(mantissa + 8, exponent - 10);
  return (bits & 0x80U) != 0 ? -value : value;
}

template <typename T>
T load(const Tensor& tensor, std::int64_t i) {
  T value;
  std::memcpy(&value, tensor.data + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

}  // namespace

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kS64:
      return 8;
    case DType::kF32:
    case DType::kS32:
      return 4;
    case DType::kBf16:
    case DType::kF16:
      return 2;
    case DType::kE4m3:
    case DType::kE5m2:
    case DType::kS8:
    case DType::kU8:
      return 1;
  }
  return 0;
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "fp64";
    case DType::kF32:
      return "fp32";
    case DType::kBf16:
      return "bf16";
    case DType::kF16:
      return "fp16";
    case DType::kE4m3:
      return "fp8_e4m3";
    case DType::kE5m2:
      return "fp8_e5m2";
    case DType::kS8:
      return "int8";
    case DType::kU8:
      return "uint8";
    case DType::kS32:
      return "int32";
    case DType::kS64:
      return "int64";
  }
  return "?";
}

Shape::Shape(std::initializer_list<std::int64_t> extents)
    : Shape(std::span<const std::int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const std::int64_t> extents) : rank_(static_cast<int>(extents.size())) {
  if (extents.size() > kMaxRank) {
    throw InputError(fmt::format("a tensor of rank {}: at most {} dimensions", extents.size(),
                                 static_cast<int>(kMaxRank)));
  }
  std::copy(extents.begin(), extents.end(), extent_.begin());
  // Products that wrap would make a small tensor of a huge one; its bytes must not wrap either.
  std::int64_t bytes = kWidestElement;
  bool wraps = false;
  for (const std::int64_t extent : extents) {
    wraps = __builtin_mul_overflow(bytes, extent, &bytes) || wraps;
  }
  if (wraps && std::find(extents.begin(), extents.end(), 0) == extents.end()) {
    throw MachineError(fmt::format("out of memory: a tensor of {} elements", text()));
  }
}

std::string Shape::text() const {
  return fmt::format("[{}]", fmt::join(extent_.begin(), extent_.begin() + rank_, ", "));
}

HostTensor::HostTensor(DType dtype, const Shape& shape) {
  view_.dtype = dtype;
  view_.shape = shape;
  // One spare line keeps the pointer of an empty tensor valid.
  const std::size_t bytes = (view_.bytes() / kAlignment + 1) * kAlignment;
  void* data = std::aligned_alloc(kAlignment, bytes);
  if (data == nullptr) throw MachineError(fmt::format("out of memory: {} bytes", bytes));
  std::memset(data, 0, bytes);
  view_.data = static_cast<std::byte*>(data);
}

HostTensor::HostTensor(const HostTensor& other) {
  if (!other.present()) return;
  HostTensor copy(other.dtype(), other.shape());
  std::memcpy(copy.view_.data, other.view_.data, other.view_.bytes());
  std::swap(view_, copy.view_);
}

HostTensor& HostTensor::operator=(const HostTensor& other) {
  HostTensor copy(other);
  std::swap(view_, copy.view_);
  return *this;
}

HostTensor::HostTensor(HostTensor&& other) noexcept : view_(std::exchange(other.view_, {})) {}

HostTensor& HostTensor::operator=(HostTensor&& other) noexcept {
  std::swap(view_, other.view_);
  return *this;
}

HostTensor::~HostTensor() { std::free(view_.data); }

double HostTensor::value(std::int64_t i) const { return value_at(view_, i); }

double value_at(const Tensor& tensor, std::int64_t i) {
  switch (tensor.dtype) {
    case DType::kF64:
      return load<double>(tensor, i);
    case DType::kF32:
      return load<float>(tensor, i);
    case DType::kBf16:
      return std::bit_cast<float>(static_cast<std::uint32_t>(load<std::uint16_t>(tensor, i)) << 16);
    case DType::kF16:
      return decode_ieee(load<std::uint16_t>(tensor, i), 5, 10);
    case DType::kE4m3:
      return decode_e4m3(load<std::uint8_t>(tensor, i));
    case DType::kE5m2:
      return decode_ieee(load<std::uint8_t>(tensor, i), 5, 2);
    case DType::kS8:
      return load<std::int8_t>(tensor, i);
    case DType::kU8:
      return load<std::uint8_t>(tensor, i);
    case DType::kS32:
      return load<std::int32_t>(tensor, i);
    case DType::kS64:
      return static_cast<double>(load<std::int64_t>(tensor, i));
  }
  return 0;
}

}  // namespace pareto
