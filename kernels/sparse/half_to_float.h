// Widening 16-bit floats with integer operations alone, for portable code.
#pragma once

#include <bit>
#include <cstdint>

namespace pareto {

inline float widen_bf16(std::uint16_t code) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16U);
}

/// Exact for every code; NaN keeps its payload.
inline float widen_fp16(std::uint16_t code) {
  const std::uint32_t sign = (code & 0x8000U) << 16U;
  const std::uint32_t rest = (code & 0x7fffU) << 13U;
  // Exponent 31 is Inf and NaN; below it, the bias differs by 112. Multiplying by 2^112 moves the
  // exponent and normalizes subnormals in one go.
  if ((code & 0x7c00U) == 0x7c00U) return std::bit_cast<float>(sign | 0x7f800000U | rest);
  const float value = std::bit_cast<float>(rest) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) | sign);
}

}  // namespace pareto
