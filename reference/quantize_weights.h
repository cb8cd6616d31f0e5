// Quantization of the rows of W into the canonical layouts of qgemm.h, round-to-nearest as eval.md
// says.
#pragma once

#include <cstdint>
#include <span>

#include "reference/qgemm.h"

namespace pareto {

/// Everything that is computed from one row of W. Spans that a scheme does not use are empty.
struct QuantizedRow {
  std::span<std::uint8_t> codes;   ///< bytes of the row in slot w
  std::span<std::uint8_t> scale8;  ///< E8M0 or E4M3 per group
  std::span<std::uint16_t> scale16;
  std::span<float> scale32;
  std::span<std::uint8_t> zero;  ///< zero point per group
};

/// Scales that rows share.
struct SharedScales {
  float tensor = 1;              ///< w8a8_tensor: amax/127; nvfp4: amax/2688
  std::span<const float> block;  ///< fp8_e4m3_block128: the scales of this row's blocks
};

/// Quantizes row `n` (for messages). InputError if an fp16 scale overflows.
void quantize_w_row(const QgemmProblem& problem, std::span<const float> w, std::int64_t n,
                    const SharedScales& shared, const QuantizedRow& row);

/// q8_0, q4_0 and q4_k; K values into ⌈K/32⌉ or ⌈K/256⌉ blocks.
void quantize_blocks(const QgemmProblem& problem, std::span<const float> w, std::int64_t n,
                     std::uint8_t* blocks);

/// fp16 of a scale; InputError naming row, group, value and limit if that overflows.
std::uint16_t checked_fp16(double scale, std::int64_t n, std::int64_t group);

/// ggml's q4_k super-block of 256 values, by its own search and its own fp32 rounding.
void quantize_q4_k_like_ggml(const float* w, std::int64_t n, std::int64_t block, std::uint8_t* out);

/// Packs a q4_k super-block from its parts; see block_q4_k.h.
void pack_q4_k(std::uint16_t d, std::uint16_t dmin, std::span<const std::uint8_t, 8> sc,
               std::span<const std::uint8_t, 8> mn, std::span<const std::uint8_t, 256> codes,
               std::uint8_t* out);

}  // namespace pareto
