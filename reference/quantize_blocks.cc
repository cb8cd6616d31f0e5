// ggml's block layouts, with eval.md's rounding or, under compat=ggml, ggml's own.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "reference/block_q4_k.h"
#include "reference/number_formats.h"
#include "reference/quantize.h"
#include "reference/quantize_weights.h"

namespace pareto {
namespace {

constexpr std::size_t kBlock = 32;

void put_fp16(std::uint8_t* out, std::uint16_t code) { std::memcpy(out, &code, sizeof(code)); }

// The block's values, zeros beyond the end of the row.
template <std::size_t Size>
std::array<float, Size> padded(std::span<const float> w, std::size_t begin) {
  std::array<float, Size> values{};
  const std::size_t count = std::min(Size, w.size() - begin);
  std::copy_n(w.begin() + static_cast<std::ptrdiff_t>(begin), count, values.begin());
  return values;
}

double rounded_quotient(double value, double divisor, double lo, double hi) {
  return divisor == 0 ? 0 : std::nearbyint(std::clamp(value / divisor, lo, hi));
}

void quantize_q8_0(const std::array<float, kBlock>& w, std::int64_t n, std::int64_t b,
                   std::uint8_t* out) {
  const float amax = amax_of(w);
  const std::uint16_t d = amax == 0 ? to_fp16(1) : checked_fp16(amax / 127.0, n, b);
  put_fp16(out, d);
  const double scale = from_fp16(d);
  for (std::size_t i = 0; i < kBlock; ++i) {
    out[2 + i] = static_cast<std::uint8_t>(
        static_cast<std::int8_t>(rounded_quotient(w[i], scale, -127, 127)));
  }
}

// ggml: the scale in fp32, its reciprocal, halves away from zero.
void quantize_q8_0_like_ggml(const std::array<float, kBlock>& w, std::int64_t n, std::int64_t b,
                             std::uint8_t* out) {
  const float d = amax_of(w) / 127.0F;
  const float inverse = d == 0 ? 0.0F : 1.0F / d;
  put_fp16(out, checked_fp16(d, n, b));
  for (std::size_t i = 0; i < kBlock; ++i) {
    out[2 + i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(std::round(w[i] * inverse)));
  }
}

// The signed value of largest magnitude, the first of equals.
float extreme_of(const std::array<float, kBlock>& w) {
  float extreme = 0;
  for (const float value : w) {
    if (std::abs(value) > std::abs(extreme)) extreme = value;
  }
  return extreme;
}

void put_q4_0(const std::array<std::uint8_t, kBlock>& codes, std::uint8_t* out) {
  for (std::size_t i = 0; i < 16; ++i) {
    out[2 + i] = static_cast<std::uint8_t>(codes[i] | codes[i + 16] << 4);
  }
}

void quantize_q4_0(const std::array<float, kBlock>& w, std::int64_t n, std::int64_t b,
                   std::uint8_t* out) {
  const float extreme = extreme_of(w);
  const std::uint16_t d = extreme == 0 ? to_fp16(1) : checked_fp16(extreme / -8.0, n, b);
  put_fp16(out, d);
  const double scale = from_fp16(d);
  std::array<std::uint8_t, kBlock> codes{};
  for (std::size_t i = 0; i < kBlock; ++i) {
    codes[i] = static_cast<std::uint8_t>(
        std::clamp(rounded_quotient(w[i], scale, -16, 16) + 8, 0.0, 15.0));
  }
  put_q4_0(codes, out);
}

// ggml: truncates w/d + 8.5, in fp32 by the reciprocal.
void quantize_q4_0_like_ggml(const std::array<float, kBlock>& w, std::int64_t n, std::int64_t b,
                             std::uint8_t* out) {
  const float d = extreme_of(w) / -8.0F;
  const float inverse = d == 0 ? 0.0F : 1.0F / d;
  put_fp16(out, checked_fp16(d, n, b));
  std::array<std::uint8_t, kBlock> codes{};
  for (std::size_t i = 0; i < kBlock; ++i) {
    codes[i] = static_cast<std::uint8_t>(std::min(15, static_cast<int>(w[i] * inverse + 8.5F)));
  }
  put_q4_0(codes, out);
}

void quantize_q4_k(const std::array<float, kQ4kBlock>& w, std::int64_t n, std::int64_t block,
                   std::uint8_t* out) {
  std::array<double, 8> steps{};
  std::array<double, 8> minima{};
  for (std::size_t b = 0; b < 8; ++b) {
    const float* part = w.data() + b * kQ4kSubBlock;
    const auto [lo, hi] = std::minmax_element(part, part + kQ4kSubBlock);
    minima[b] = -std::min<double>(*lo, 0);
    steps[b] = (std::max<double>(*hi, 0) + minima[b]) / 15;
  }
  const double max_step = *std::max_element(steps.begin(), steps.end());
  const double max_minimum = *std::max_element(minima.begin(), minima.end());
  const std::uint16_t d = max_step == 0 ? to_fp16(1) : checked_fp16(max_step / 63, n, block);
  const std::uint16_t dmin =
      max_minimum == 0 ? to_fp16(1) : checked_fp16(max_minimum / 63, n, block);
  std::array<std::uint8_t, 8> sc{};
  std::array<std::uint8_t, 8> mn{};
  std::array<std::uint8_t, kQ4kBlock> codes{};
  for (std::size_t b = 0; b < 8; ++b) {
    sc[b] = static_cast<std::uint8_t>(rounded_quotient(steps[b], from_fp16(d), 0, 63));
    mn[b] = static_cast<std::uint8_t>(rounded_quotient(minima[b], from_fp16(dmin), 0, 63));
    const double scale = from_fp16(d) * sc[b];
    const double offset = from_fp16(dmin) * mn[b];
    for (std::size_t i = b * kQ4kSubBlock; i < (b + 1) * kQ4kSubBlock; ++i) {
      codes[i] = static_cast<std::uint8_t>(rounded_quotient(w[i] + offset, scale, 0, 15));
    }
  }
  pack_q4_k(d, dmin, sc, mn, codes, out);
}

// Calls body(values, block number, bytes of the block) for the whole row.
template <std::size_t Size, typename Body>
void for_blocks(std::span<const float> w, std::uint8_t* blocks, std::size_t bytes,
                const Body& body) {
  for (std::size_t begin = 0; begin < w.size(); begin += Size) {
    const std::size_t b = begin / Size;
    body(padded<Size>(w, begin), static_cast<std::int64_t>(b), blocks + b * bytes);
  }
}

}  // namespace

void pack_q4_k(std::uint16_t d, std::uint16_t dmin, std::span<const std::uint8_t, 8> sc,
               std::span<const std::uint8_t, 8> mn, std::span<const std::uint8_t, 256> codes,
               std::uint8_t* out) {
  put_fp16(out, d);
  put_fp16(out + 2, dmin);
  std::uint8_t* scales = out + 4;
  for (std::size_t b = 0; b < 4; ++b) {
    scales[b] = static_cast<std::uint8_t>(sc[b] | sc[b + 4] >> 4 << 6);
    scales[b + 4] = static_cast<std::uint8_t>(mn[b] | mn[b + 4] >> 4 << 6);
    scales[b + 8] = static_cast<std::uint8_t>((sc[b + 4] & 15) | (mn[b + 4] & 15) << 4);
  }
  for (std::size_t i = 0; i < 128; ++i) {
    const std::size_t low = i / 32 * 64 + i % 32;
    out[16 + i] = static_cast<std::uint8_t>(codes[low] | codes[low + 32] << 4);
  }
}

void quantize_blocks(const QgemmProblem& problem, std::span<const float> w, std::int64_t n,
                     std::uint8_t* blocks) {
  const bool ggml = problem.ggml_rounding;
  if (problem.w_kind == WKind::kQ8Block) {
    for_blocks<kBlock>(w, blocks, 34, [&](const auto& values, std::int64_t b, std::uint8_t* out) {
      ggml ? quantize_q8_0_like_ggml(values, n, b, out) : quantize_q8_0(values, n, b, out);
    });
  } else if (problem.w_kind == WKind::kQ4Block) {
    for_blocks<kBlock>(w, blocks, 18, [&](const auto& values, std::int64_t b, std::uint8_t* out) {
      ggml ? quantize_q4_0_like_ggml(values, n, b, out) : quantize_q4_0(values, n, b, out);
    });
  } else {
    for_blocks<kQ4kBlock>(w, blocks, kQ4kBytes,
                          [&](const auto& values, std::int64_t b, std::uint8_t* out) {
                            ggml ? quantize_q4_k_like_ggml(values.data(), n, b, out)
                                 : quantize_q4_k(values, n, b, out);
                          });
  }
}

}  // namespace pareto
