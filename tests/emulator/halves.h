// Halves of registers as bf16 and fp16.
#pragma once

#include <bit>
#include <cstdint>

#include "reference/number_formats.h"

namespace pareto::emulator {

/// The low (0) or high (1) half of a register.
inline float bf16_half(std::uint32_t word, int half) {
  return std::bit_cast<float>((half == 0 ? word : word >> 16U) << 16U);
}
inline float fp16_half(std::uint32_t word, int half) {
  return static_cast<float>(from_fp16(static_cast<std::uint16_t>(half == 0 ? word : word >> 16U)));
}

}  // namespace pareto::emulator
