// Halves of registers as bf16.
#pragma once

#include <bit>
#include <cstdint>

namespace pareto::emulator {

/// The low (0) or high (1) half of a register.
inline float bf16_half(std::uint32_t word, int half) {
  return std::bit_cast<float>((half == 0 ? word : word >> 16U) << 16U);
}

}  // namespace pareto::emulator
