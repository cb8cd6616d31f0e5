#include "kernels/attention/operand_rows.h"

#include <algorithm>
#include <array>
#include <bit>

#include "reference/number_formats.h"

namespace pareto {
namespace {

const std::array<float, 256>& e4m3_values() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> table{};
    for (int code = 0; code < 256; ++code) {
      table[code] = static_cast<float>(from_e4m3(static_cast<std::uint8_t>(code)));
    }
    return table;
  }();
  return values;
}

// fp16's exponent and mantissa in fp32's places are 2^112 too small; infinities and NaN keep theirs
// by a second correction.
float fp16_value(std::uint16_t code) {
  const std::uint32_t shifted = (code & 0x7fffU) << 13U;
  float value = std::bit_cast<float>(shifted) * 0x1p112F;
  if ((code & 0x7c00U) == 0x7c00U) value = std::bit_cast<float>(shifted | 0x7f800000U);
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x8000U) << 16U;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
}

}  // namespace

void decode_elements(const Tensor& tensor, std::int64_t first, std::int64_t count, float scale,
                     float* out) {
  switch (tensor.dtype) {
    case DType::kBf16: {
      const auto* from = tensor.as<const std::uint16_t>() + first;
      for (std::int64_t i = 0; i < count; ++i) {
        out[i] = scale * std::bit_cast<float>(static_cast<std::uint32_t>(from[i]) << 16U);
      }
      return;
    }
    case DType::kF16: {
      const auto* from = tensor.as<const std::uint16_t>() + first;
      for (std::int64_t i = 0; i < count; ++i) out[i] = scale * fp16_value(from[i]);
      return;
    }
    case DType::kE4m3: {
      const std::array<float, 256>& values = e4m3_values();
      const auto* from = tensor.as<const std::uint8_t>() + first;
      for (std::int64_t i = 0; i < count; ++i) out[i] = scale * values[from[i]];
      return;
    }
    case DType::kS8: {
      const auto* from = tensor.as<const std::int8_t>() + first;
      for (std::int64_t i = 0; i < count; ++i) out[i] = scale * static_cast<float>(from[i]);
      return;
    }
    default: {
      const auto* from = tensor.as<const float>() + first;
      for (std::int64_t i = 0; i < count; ++i) out[i] = scale * from[i];
    }
  }
}

}  // namespace pareto
