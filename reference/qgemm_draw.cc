// Seeded original inputs of qgemm.
#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/distributions.h"
#include "reference/qgemm_parts.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

constexpr std::int64_t kCalibrationRows = 16;

HostTensor drawn(const Draw& draw, const char* name, const Shape& shape) {
  HostTensor tensor(DType::kF32, shape);
  if (draw.distribution == "saturating") {
    // Codes near the top of their range, all of one sign: narrow sums overflow.
    const std::uint64_t key = stream_key(draw, name);
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      const double unit = random_unit(key, static_cast<std::uint64_t>(i));
      tensor.view().as<float>()[i] = static_cast<float>(0.95 + unit / 20);
    }
    return tensor;
  }
  fill_distribution(draw.distribution, stream_key(draw, name), tensor.span<float>(),
                    std::max<std::int64_t>(shape[shape.rank() - 1], 1));
  return tensor;
}

// Codes over the whole range of the type, both ends included.
HostTensor drawn_codes(const Draw& draw, const char* name, DType dtype, const Shape& shape) {
  HostTensor tensor(dtype, shape);
  if (draw.distribution == "saturating") {
    std::fill_n(tensor.view().data, tensor.view().bytes(), std::byte{127});
    return tensor;
  }
  const std::uint64_t key = stream_key(draw, name);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    // The byte is the code, whichever the type.
    tensor.view().data[i] =
        static_cast<std::byte>(random_below(key, static_cast<std::uint64_t>(i), 256));
  }
  return tensor;
}

HostTensor drawn_scales(const Draw& draw, const char* name, std::int64_t count) {
  HostTensor tensor(DType::kF32, Shape{count});
  const std::uint64_t key = stream_key(draw, name);
  for (std::int64_t i = 0; i < count; ++i) {
    tensor.view().as<float>()[i] =
        static_cast<float>((0.5 + random_unit(key, static_cast<std::uint64_t>(i))) / 127);
  }
  return tensor;
}

HostTensor drawn_zeros(const Draw& draw, DType codes, std::int64_t count) {
  HostTensor tensor(DType::kS32, Shape{count});
  const std::uint64_t key = stream_key(draw, "x_zero");
  const std::int32_t lowest = codes == DType::kU8 ? 0 : -128;
  for (std::int64_t i = 0; i < count; ++i) {
    tensor.view().as<std::int32_t>()[i] =
        lowest + static_cast<std::int32_t>(random_below(key, static_cast<std::uint64_t>(i), 256));
  }
  return tensor;
}

// The middle between two neighbours of E4M3 (odd multiples of 1/16) or E5M2 (of 1/8), in the upper
// half of the exponents.
double fp8_tie(std::uint64_t steps, DType fp8) {
  const bool wide = fp8 == DType::kE5m2;
  const int parts = wide ? 8 : 16;
  const auto odd = 2 * static_cast<int>(steps % static_cast<std::uint64_t>(parts / 2)) + 1;
  const auto exponent = static_cast<int>(steps / 8 % 8);
  return std::ldexp(1 + static_cast<double>(odd) / parts, exponent + (wide ? 7 : 0));
}

// Values of x that decide codes: quotients next to k + ½, where a quotient rounded in fp32, or one
// taken by a reciprocal, falls on the wrong side. Every 32nd element holds the same extremes, so
// that rows, groups and the tensor have one scale.
void plant_near_ties(const QgemmProblem& p, HostTensor& x, const Draw& draw) {
  constexpr float kExtreme = 3.7F;
  const bool affine = p.x_kind == XKind::kU8Row;
  const bool fp8 = p.x_kind == XKind::kFp8Row || p.x_kind == XKind::kFp8Group;
  const double top = p.fp8_dtype == DType::kE5m2 ? 57344 : 448;
  const double scale =
      affine ? static_cast<float>(2.0 * kExtreme / 255) : scale_of(kExtreme, fp8 ? top : 127);
  const std::uint64_t key = stream_key(draw, "near ties");
  for (std::int64_t i = 0; i < x.elements(); ++i) {
    const std::int64_t k = i % p.K;
    float& value = x.view().as<float>()[i];
    if (k % 32 == 3) {
      value = kExtreme;
    } else if (k % 32 == 4 && affine) {
      value = -kExtreme;
    } else {
      const std::uint64_t steps = random_below(key, static_cast<std::uint64_t>(i), 120);
      value = static_cast<float>(
          (fp8 ? fp8_tie(steps, p.fp8_dtype) : static_cast<double>(steps) - 59.5) * scale);
    }
  }
}

// Normal values, the columns at both ends of K and of its tiles four times as large; near ties
// where x is quantized by a scale that is no power of two.
void plant(const QgemmProblem& p, TensorMap& inputs, const Draw& draw) {
  HostTensor& x = inputs.at("x");
  if (p.x_kind != XKind::kFloat && p.x_kind != XKind::kMxfp8) {
    plant_near_ties(p, x, draw);
    return;
  }
  for (std::int64_t i = 0; i < x.elements(); ++i) {
    const std::int64_t k = i % p.K;
    if (k % 16 == 0 || k % 16 == 15 || k == p.K - 1) x.view().as<float>()[i] *= 4;
  }
}

TensorMap draw_integers(const QgemmProblem& p, const Draw& draw) {
  TensorMap inputs;
  inputs["x_q"] = drawn_codes(draw, "x_q", p.x_dtype, Shape{p.M, p.K});
  inputs["w_q"] = drawn_codes(draw, "w_q", DType::kS8, Shape{p.N, p.K});
  inputs["x_scale"] = drawn_scales(draw, "x_scale", p.M);
  inputs["w_scale"] = drawn_scales(draw, "w_scale", p.N);
  if (p.has_x_zero) inputs["x_zero"] = drawn_zeros(draw, p.x_dtype, p.M);
  return inputs;
}

TensorMap draw_floats(const QgemmProblem& p, const Draw& draw) {
  TensorMap inputs;
  inputs["x"] = drawn(draw, "x", Shape{p.M, p.K});
  inputs["w"] = drawn(draw, "w", Shape{p.N, p.K});
  if (p.x_kind == XKind::kS8Static) {
    inputs["x_calib"] = drawn(draw, "x_calib", Shape{kCalibrationRows, p.K});
  }
  return inputs;
}

void make_subnormal(const QgemmProblem& p, TensorMap& inputs) {
  for (const char* name : {"x", "w"}) scale_to_subnormals(inputs.at(name).span<float>(), p.K);
  if (!p.has_bias) return;
  // Below the smallest sums, which it must not hide.
  for (float& value : inputs.at("bias").span<float>()) value = std::ldexp(value, -140);
}

// Rows that are zero, tiny or huge as a whole, and rows whose runs of 16 are so by turns: scales of
// rows and of groups are 0, subnormal, with reciprocals that overflow, and next to their largest.
void make_uneven(const QgemmProblem& p, TensorMap& inputs) {
  constexpr std::int64_t kRun = 16;
  const auto spread = [&](const char* name, std::span<const float> scales) {
    const auto count = static_cast<std::int64_t>(scales.size());
    std::span<float> values = inputs.at(name).span<float>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t row = static_cast<std::int64_t>(i) / p.K;
      const std::int64_t run = static_cast<std::int64_t>(i) % p.K / kRun;
      const bool whole = row % (2 * count) < count;
      values[i] *= scales[static_cast<std::size_t>((row + (whole ? 0 : run)) % count)];
    }
  };
  // Products stay finite.
  constexpr float kOfX[] = {1, 1e-43F, 0, 1e30F, 1e-39F};
  constexpr float kOfW[] = {0, 1, 1e-39F, 1e3F, 1e-43F, 1e-30F, 1e-6F};
  constexpr float kOfHalves[] = {1, 1e-7F, 0, 1e3F, 1e-5F};
  spread("x", p.x_dtype == DType::kF16 ? kOfHalves : kOfX);
  spread("w", kOfW);
}

// A few elements that are not finite, in rows of x and of w of their own.
void spoil(const QgemmProblem& p, TensorMap& inputs) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const auto put = [&](const char* name, std::int64_t row, std::int64_t k, float value) {
    const HostTensor& tensor = inputs.at(name);
    if (row < tensor.shape()[0] && k < p.K) tensor.view().as<float>()[row * p.K + k] = value;
  };
  put("x", 1, 0, kInf);
  put("x", 2, p.K - 1, kNan);
  put("x", 4, 5, kInf);
  put("x", 4, 6, -kInf);
  put("w", 3, 7, -kInf);
  put("w", 5, p.K - 1, kNan);
}

}  // namespace

TensorMap draw_qgemm(const Problem& problem, const Draw& draw) {
  const QgemmProblem p = QgemmProblem::from(problem);
  if (draw.distribution == "exact") return draw_exact_qgemm(p, draw);
  const bool planted = draw.distribution == "planted";
  const bool spoilt = draw.distribution == "nonfinite";
  const bool subnormal = draw.distribution == "subnormal";
  Draw base = draw;
  const bool uneven = draw.distribution == "uneven";
  if (planted || spoilt || subnormal || uneven) base.distribution = "normal";
  TensorMap inputs = p.integer_operands() ? draw_integers(p, base) : draw_floats(p, base);
  if (p.has_bias) inputs["bias"] = drawn(base, "bias", Shape{p.N});
  if (spoilt && !p.integer_operands()) spoil(p, inputs);
  if (subnormal && !p.integer_operands()) make_subnormal(p, inputs);
  if (uneven && !p.integer_operands()) make_uneven(p, inputs);
  if (planted && !p.integer_operands()) {
    plant(p, inputs, draw);
    if (p.x_kind == XKind::kS8Static && p.K > 0) {
      // The same extreme as in x.
      std::fill_n(inputs["x_calib"].view().as<float>(), p.K, 0.0F);
      for (float& value : inputs["x_calib"].span<float>()) value = std::clamp(value, -3.7F, 3.7F);
      inputs["x_calib"].view().as<float>()[0] = 3.7F;
    }
  }
  return inputs;
}

}  // namespace pareto
