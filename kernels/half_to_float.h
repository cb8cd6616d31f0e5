// Widening 16-bit floats in portable code. Not for target regions, where inline functions would be
// compiled for an instruction set.
#pragma once

#include <bit>
#include <cstdint>

namespace pareto {

inline float widen_bf16(std::uint16_t code) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16U);
}

/// Exact for every code; NaN keeps its payload. No branches, so that loops over it become vectors.
inline float widen_fp16(std::uint16_t code) {
  const std::uint32_t magnitude = code & 0x7fffU;
  // Its exponent is 112 less than fp32's; the product also makes subnormals normal.
  const float scaled = std::bit_cast<float>(magnitude << 13U) * 0x1p112F;
  const std::uint32_t special = magnitude >= 0x7c00U ? 0x7f800000U : 0U;
  const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x8000U) << 16U;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | special | sign);
}

}  // namespace pareto
