// The order in which two vectors of bf16 share the words of one.
#pragma once

namespace pareto {

/// Of 16 words, words 4 … 7 stand behind words 8 … 11: AVX2 interleaves the lower four words of
/// both halves of a register with zeros, or the upper four, and so widens words 0 … 7 or 8 … 15
/// with one instruction each. Place of word `i` of many, and the other way round.
template <typename Int>
constexpr Int place_in_halves(Int i) {
  const Int quad = i / 4 % 4;
  return quad == 1 || quad == 2 ? i ^ 12 : i;
}

}  // namespace pareto
