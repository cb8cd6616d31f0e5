// e^x in plain fp32 arithmetic that compilers vectorize on any machine.
#pragma once

#include <bit>
#include <cstdint>

namespace pareto {

/// e^x for x ≤ 0 (any x ≤ 88): exactly 1 at 0, exactly 0 below ln 2^-126, NaN for NaN. Relative
/// error below 2^-22: the polynomial's remainder is r⁸/8! < 2^-27 at |r| ≤ ln(2)/2, the rest is
/// rounding.
inline float exp_portable(float x) {
  constexpr float kLog2E = 1.44269504F;
  // ln 2 in two parts, the first short enough for exact products with |n| ≤ 127.
  constexpr float kLn2High = 0.693359375F;
  constexpr float kLn2Low = -2.12194440e-4F;
  constexpr float kRound = 0x1.8p23F;       // adding it rounds to a whole number
  constexpr float kUnderflow = -87.33654F;  // ln 2^-126
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float poly = 1.0F / 5040;
  poly = poly * r + 1.0F / 720;
  poly = poly * r + 1.0F / 120;
  poly = poly * r + 1.0F / 24;
  poly = poly * r + 1.0F / 6;
  poly = poly * r + 0.5F;
  poly = poly * r + 1.0F;
  poly = poly * r + 1.0F;
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) + 127U) << 23U;
  const float power = std::bit_cast<float>(exponent);
  return x < kUnderflow ? 0.0F : poly * power;
}

}  // namespace pareto
