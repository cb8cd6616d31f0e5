// ggml's q4_k super-block: 256 weights in 144 bytes, value = d·sc_b·q − dmin·mn_b for the eight
// sub-blocks b of 32.
//
//   bytes   0…1    d, fp16          bytes 4…15   sc and mn, eight times 6 bits each
//   bytes   2…3    dmin, fp16       bytes 16…143 codes: 32 bytes per 64 weights, the low nibbles
//                                   for the first 32 of them, the high ones for the second
#pragma once

#include <cstdint>

namespace pareto {

inline constexpr std::int64_t kQ4kBlock = 256;
inline constexpr std::int64_t kQ4kSubBlock = 32;
inline constexpr std::int64_t kQ4kBytes = 144;

/// The 6-bit scale and minimum of sub-block b, from the 12 bytes at offset 4. Sub-blocks 0…3 use
/// the low 6 bits of bytes b (sc) and b+4 (mn); 4…7 use the nibbles of byte b+4, with their upper
/// two bits at the top of bytes b−4 (sc) and b (mn).
struct Q4kScale {
  std::uint8_t sc = 0;
  std::uint8_t mn = 0;
};
inline Q4kScale q4k_scale(const std::uint8_t* scales, int b) {
  if (b < 4) {
    return {static_cast<std::uint8_t>(scales[b] & 63U),
            static_cast<std::uint8_t>(scales[b + 4] & 63U)};
  }
  return {static_cast<std::uint8_t>((scales[b + 4] & 15U) | ((scales[b - 4] >> 6U) << 4U)),
          static_cast<std::uint8_t>((scales[b + 4] >> 4U) | ((scales[b] >> 6U) << 4U))};
}

/// Code of element i of the super-block, from the 128 bytes at offset 16.
inline std::uint8_t q4k_code(const std::uint8_t* codes, int i) {
  const std::uint8_t byte = codes[i / 64 * 32 + i % 32];
  return static_cast<std::uint8_t>(i % 64 < 32 ? byte & 15U : byte >> 4U);
}

}  // namespace pareto
