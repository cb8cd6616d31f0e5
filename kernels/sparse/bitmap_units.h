// W of a bitmap layer in units of 16 rows × 64 columns, in the order in which a warp's lanes hold
// fragments A of mma.sync m16n8k16 (W is A, so that y comes out transposed).
//
// A unit is 32 words of masks and the words of its values. Lane l's mask has one byte for each of
// the unit's 4 groups, which are one product of 16 columns each; the bits of a byte are the lane's
// 8 elements of A: bit 2·q + h is half h of register q. Columns are dealt out so that a lane's 16
// are neighbours: it then reads x in whole 16-byte chunks.
//
// Values stand group by group, and within it lane by lane, two to a word; every lane's share is
// whole words. The elements of registers 0 and 1 stand from its begin on, those of registers 2 and
// 3 up to its end: both halves can be expanded from 2 words at a known place, without knowing how
// many values the other half has.
#pragma once

#include <cstdint>

#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

struct BitmapUnit {
  static constexpr int kRows = 16;
  static constexpr int kColumns = 64;
  static constexpr int kGroups = 4;
  static constexpr int kSlots = 8;      ///< elements of A in a lane
  static constexpr int kHalfSlots = 4;  ///< those of two registers
  static constexpr int kMaskBytes = 4 * kWarpLanes;
  static constexpr int kChunkBytes = 16;  ///< units begin and end at multiples of it
  static constexpr int kLongestBytes = kMaskBytes + kRows * kColumns * 2;
};

/// Place in the unit of bit `slot` of a lane's byte `group`.
constexpr Element bitmap_element(int lane, int group, int slot) {
  const int q = slot / 2;
  return {group_of(lane) + 8 * (q & 1), 16 * member_of(lane) + 4 * group + 2 * (q >> 1) + slot % 2};
}

/// Words that a lane's values take in each group: in each byte ⌈bits / 2⌉.
constexpr std::uint32_t bitmap_words(std::uint32_t mask) {
  std::uint32_t bits = mask - (mask >> 1U & 0x55555555U);
  bits = (bits & 0x33333333U) + (bits >> 2U & 0x33333333U);
  bits = (bits + (bits >> 4U)) & 0x0f0f0f0fU;
  return (bits + 0x01010101U) >> 1U & 0x07070707U;
}

/// How two registers come out of two words, by their 4 bits: selectors of two byte permutations.
/// Low half: "single", of the outer word (the half's first, or its last) and zero. High half:
/// "both", of the two words in order; elements without a bit get any bytes and are masked away.
///
/// The two bytes of 16-bit value `value`, or of the zero in the second operand (value 2):
constexpr std::uint32_t value_bytes(int value) {
  return static_cast<std::uint32_t>(2 * value | (2 * value + 1) << 4);
}
constexpr bool has_bit(unsigned bits, int slot) {
  return (bits >> static_cast<unsigned>(slot) & 1U) != 0;
}

/// Registers 0 (single) and 1 (both) from the first two words of the lane's share.
constexpr std::uint32_t expand_front(unsigned bits) {
  std::uint32_t selectors = 0;
  int rank = 0;
  for (int slot = 0; slot < BitmapUnit::kHalfSlots; ++slot) {
    const bool kept = has_bit(bits, slot);
    const int value = slot < 2 && !kept ? 2 : rank % 4;
    selectors |= value_bytes(value) << static_cast<unsigned>(8 * slot);
    rank += kept ? 1 : 0;
  }
  return selectors;
}

/// Registers 3 (single) and 2 (both) from the last two words.
constexpr std::uint32_t expand_back(unsigned bits) {
  std::uint32_t selectors = 0;
  int rank = 0;  // from the end
  for (int slot = BitmapUnit::kHalfSlots - 1; slot >= 0; --slot) {
    const bool kept = has_bit(bits, slot);
    const int single = kept ? 1 - rank : 2;
    const int value = slot < 2 ? 3 - rank : single;
    // Slots 2 and 3 are register 3's, the single one.
    selectors |= value_bytes(value) << static_cast<unsigned>(8 * ((slot + 2) % 4));
    rank += kept ? 1 : 0;
  }
  return selectors;
}

/// Masks of register 1 (front) and 2 (back) of a group, all bits of an element or none, are a byte
/// permutation that spreads signs: of the mask shifted left by `shift` and by one less.
struct SpreadBits {
  int shift = 0;
  std::uint32_t selectors = 0;
};
constexpr SpreadBits spread_bits(int group, bool back) {
  const auto byte = static_cast<std::uint32_t>(group);
  const std::uint32_t low = (8U + byte) * 0x11U;
  const std::uint32_t high = (12U + byte) * 0x11U;
  // Slots 2 and 3 of the front, 4 and 5 of the back: bits 7 − shift and 8 − shift.
  return {back ? 3 : 5, low | high << 8U};
}

}  // namespace pareto::cuda
