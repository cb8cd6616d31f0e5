// Panels of group-quantized W with their scales inline, 32 columns each: where codes and scales
// stand. `kPer` elements of K lie side by side per column: what one lane multiplies at a time (4
// for vpdpbusd and vpmaddubsw).
#pragma once

#include <cstdint>

namespace pareto {

/// Where a code stands: its byte within the group, and which nibble of it.
struct CodePlace {
  std::int64_t byte = 0;
  bool high = false;
};

template <bool kNibbles, int kPer>
constexpr CodePlace code_place(std::int64_t k, std::int64_t column) {
  const std::int64_t unit = k / kPer;
  const std::int64_t within = column * kPer + k % kPer;
  if (kNibbles) return {unit / 2 * 32 * kPer + within, unit % 2 != 0};
  return {unit * 32 * kPer + within, false};
}

/// A step is one group: codes (nibbles: an even unit of K low, the odd one high), 32 fp16 scales.
template <int kGroupSize, bool kNibble, int kPer>
struct PlainGroups {
  static constexpr int kGroup = kGroupSize;
  static constexpr int kSubGroups = 1;
  static constexpr bool kNibbles = kNibble;
  static constexpr bool kMinima = false;
  static constexpr int kCodeBytes = kGroup * 32 / (kNibble ? 2 : 1);
  static constexpr int kCodesAt = 0;
  static constexpr int kScaleAt = kCodeBytes;
  static constexpr int kSubBytes = kScaleAt + 64;
  static constexpr int kStepBytes = kSubBytes;
  static constexpr CodePlace place(std::int64_t k, std::int64_t column) {
    return code_place<kNibble, kPer>(k, column);
  }
};

/// q4_k: a step is a super-block: fp16 d[32], fp16 dmin[32], then 8 groups of 32 nibbles, each
/// followed by its u8 sc[32] and mn[32]. Whatever is read next lies behind what was read last: with
/// all sc and mn in front, hardware prefetchers lose the stream (10 instead of 29 GB/s at M = 1 on
/// Zen 4).
template <int kPer>
struct Q4kGroups {
  static constexpr int kGroup = 32;
  static constexpr int kSubGroups = 8;
  static constexpr bool kNibbles = true;
  static constexpr bool kMinima = true;
  static constexpr int kCodeBytes = kGroup * 16;  // of one group
  static constexpr int kDAt = 0;
  static constexpr int kDMinAt = kDAt + 64;
  static constexpr int kCodesAt = kDMinAt + 64;
  static constexpr int kScaleAt = kCodesAt + kCodeBytes;
  static constexpr int kMinimumAt = kScaleAt + 32;
  static constexpr int kSubBytes = kCodeBytes + 64;  // from one group to the next
  static constexpr int kStepBytes = kCodesAt + kSubGroups * kSubBytes;
  static constexpr CodePlace place(std::int64_t k, std::int64_t column) {
    return code_place<true, kPer>(k, column);
  }
};

}  // namespace pareto
