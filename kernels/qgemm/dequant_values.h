// What codes stand for: tables of nibbles, and how 8- and 6-bit floats become fp16 by a shift.
#pragma once

#include "kernels/qgemm/dequant_panels.h"
#include "reference/qgemm.h"

namespace pareto {

inline constexpr float kInt4Values[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
inline constexpr float kUInt4Values[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
inline constexpr float kE2m1Values[16] = {0,     0.5F,  1,     1.5F,  2,     3,     4,     6,
                                          -0.0F, -0.5F, -1.0F, -1.5F, -2.0F, -3.0F, -4.0F, -6.0F};

constexpr const float* nibble_values(CodeKind kind) {
  switch (kind) {
    case CodeKind::kNf4:
      return kNf4Table;
    case CodeKind::kE2m1:
      return kE2m1Values;
    case CodeKind::kInt4:
      return kInt4Values;
    default:
      return kUInt4Values;
  }
}

/// The code's sign goes to bit 15 by `sign_shift`, exponent and mantissa to where fp16 has its own
/// by `shift`; `bias` makes up for the difference of the exponents' biases. fp16's subnormals
/// convert without a penalty.
struct ByteFloat {
  int sign_shift = 8;
  int shift = 8;
  int magnitude_mask = 0x7f;
  float bias = 1;
};

constexpr ByteFloat byte_float(CodeKind kind) {
  switch (kind) {
    case CodeKind::kE4m3:
      return {8, 7, 0x7f, 0x1p8F};
    case CodeKind::kE2m3:
      return {10, 7, 0x1f, 0x1p14F};
    case CodeKind::kE3m2:
      return {10, 8, 0x1f, 0x1p12F};
    default:
      return {8, 8, 0x7f, 1};  // E5M2 is the upper half of fp16
  }
}

}  // namespace pareto
