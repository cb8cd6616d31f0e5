// ggml's q4_k: per sub-block a weighted least-squares search over 21 trial scales, all in fp32. The
// order of operations is the format's reference implementation's (quantize_row_q4_K_ref), since
// every rounding decides codes.
#include <algorithm>
#include <array>
#include <cmath>

#include "reference/block_q4_k.h"
#include "reference/number_formats.h"
#include "reference/quantize_weights.h"

namespace pareto {
namespace {

constexpr int kSize = 32;
constexpr int kTopCode = 15;
constexpr int kTrials = 21;

using Codes = std::array<std::uint8_t, kSize>;

struct Fit {
  float scale = 0;
  float minimum = 0;  ///< value = scale·code + minimum, minimum ≤ 0
  Codes codes{};
};

// Sums over the weights alone.
struct Moments {
  float weight = 0;
  float value = 0;
};

Codes codes_at(const float* w, float inverse_step, float lo) {
  Codes codes{};
  for (int i = 0; i < kSize; ++i) {
    const int code = static_cast<int>(std::nearbyint(inverse_step * (w[i] - lo)));
    codes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(std::clamp(code, 0, kTopCode));
  }
  return codes;
}

float error_of(const float* w, const float* importance, const Fit& fit) {
  float error = 0;
  for (int i = 0; i < kSize; ++i) {
    const float difference =
        fit.scale * static_cast<float>(fit.codes[static_cast<std::size_t>(i)]) + fit.minimum - w[i];
    error += importance[i] * (difference * difference);
  }
  return error;
}

// Least squares for scale and minimum given the codes; false if they are degenerate.
bool solve(const float* w, const float* importance, const Moments& moments, Fit& fit) {
  float sum_code = 0;
  float sum_code2 = 0;
  float sum_cross = 0;
  for (int i = 0; i < kSize; ++i) {
    const auto code = static_cast<float>(fit.codes[static_cast<std::size_t>(i)]);
    sum_code += importance[i] * code;
    sum_code2 += importance[i] * code * code;
    sum_cross += importance[i] * code * w[i];
  }
  const float determinant = moments.weight * sum_code2 - sum_code * sum_code;
  if (!(determinant > 0)) return false;
  fit.scale = (moments.weight * sum_cross - moments.value * sum_code) / determinant;
  fit.minimum = (sum_code2 * moments.value - sum_code * sum_cross) / determinant;
  if (fit.minimum > 0) {
    fit.minimum = 0;
    fit.scale = sum_cross / sum_code2;
  }
  return true;
}

Fit fit_sub_block(const float* w) {
  float sum_squares = 0;
  for (int i = 0; i < kSize; ++i) sum_squares += w[i] * w[i];
  const float rms = std::sqrt(sum_squares / kSize);
  std::array<float, kSize> importance{};
  Moments moments;
  for (int i = 0; i < kSize; ++i) {
    importance[static_cast<std::size_t>(i)] = rms + std::abs(w[i]);
    moments.weight += importance[static_cast<std::size_t>(i)];
    moments.value += importance[static_cast<std::size_t>(i)] * w[i];
  }
  const auto [lowest, highest] = std::minmax_element(w, w + kSize);
  const float lo = std::min(*lowest, 0.0F);
  Fit best;
  best.minimum = lo;
  if (*highest == lo) return best;
  const float span = *highest - lo;
  const float inverse = kTopCode / span;
  best.scale = 1 / inverse;
  best.codes = codes_at(w, inverse, lo);
  float best_error = error_of(w, importance.data(), best);
  // Every trial measures from the best minimum so far, but keeps the span of the data.
  for (int trial = 0; trial < kTrials; ++trial) {
    const float step =
        (-1.0F + 0.1F * static_cast<float>(trial) + kTopCode) / (*highest - best.minimum);
    Fit fit;
    fit.codes = codes_at(w, step, best.minimum);
    if (!solve(w, importance.data(), moments, fit)) continue;
    const float error = error_of(w, importance.data(), fit);
    if (error < best_error) {
      best_error = error;
      best = fit;
    }
  }
  return best;
}

}  // namespace

void quantize_q4_k_like_ggml(const float* w, std::int64_t n, std::int64_t block,
                             std::uint8_t* out) {
  std::array<Fit, 8> fits;
  float max_scale = 0;
  float max_minimum = 0;
  for (std::size_t b = 0; b < 8; ++b) {
    fits[b] = fit_sub_block(w + b * kSize);
    max_scale = std::max(max_scale, fits[b].scale);
    max_minimum = std::max(max_minimum, -fits[b].minimum);
  }
  const float per_scale = max_scale > 0 ? 63.0F / max_scale : 0.0F;
  const float per_minimum = max_minimum > 0 ? 63.0F / max_minimum : 0.0F;
  const std::uint16_t d = checked_fp16(max_scale / 63.0F, n, block);
  const std::uint16_t dmin = checked_fp16(max_minimum / 63.0F, n, block);
  std::array<std::uint8_t, 8> sc{};
  std::array<std::uint8_t, 8> mn{};
  std::array<std::uint8_t, kQ4kBlock> codes{};
  for (std::size_t b = 0; b < 8; ++b) {
    const float scale_steps = std::nearbyint(per_scale * fits[b].scale);
    const float minimum_steps = std::nearbyint(per_minimum * -fits[b].minimum);
    sc[b] = static_cast<std::uint8_t>(std::clamp(scale_steps, 0.0F, 63.0F));
    mn[b] = static_cast<std::uint8_t>(std::clamp(minimum_steps, 0.0F, 63.0F));
    const float scale = static_cast<float>(from_fp16(d)) * sc[b];
    const float offset = static_cast<float>(from_fp16(dmin)) * mn[b];
    std::copy(fits[b].codes.begin(), fits[b].codes.end(), codes.begin() + static_cast<int>(b) * 32);
    if (scale == 0) continue;
    for (std::size_t i = b * kSize; i < (b + 1) * kSize; ++i) {
      const float steps = std::clamp((w[i] + offset) / scale, -1.0F, 16.0F);
      codes[i] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(steps), 0.0F, 15.0F));
    }
  }
  pack_q4_k(d, dmin, sc, mn, codes, out);
}

}  // namespace pareto
