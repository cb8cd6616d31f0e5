#include "kernels/attention/operand_rows.h"

#include <array>

#include "kernels/half_to_float.h"
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

}  // namespace

void decode_elements(const Tensor& tensor, std::int64_t first, std::int64_t count, float scale,
                     float* out) {
  switch (tensor.dtype) {
    case DType::kBf16: {
      const auto* from = tensor.as<const std::uint16_t>() + first;
      for (std::int64_t i = 0; i < count; ++i) {
        out[i] = scale * widen_bf16(from[i]);
      }
      return;
    }
    case DType::kF16: {
      const auto* from = tensor.as<const std::uint16_t>() + first;
      for (std::int64_t i = 0; i < count; ++i) out[i] = scale * widen_fp16(from[i]);
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
