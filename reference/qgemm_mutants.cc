// Wrong results made on purpose: fp64 results with one fault each, rounded to the output's type.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "harness/errors.h"
#include "reference/number_formats.h"
#include "reference/qgemm_operands.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

// Decoded operands of a small problem; faults are put in here.
struct Dense {
  QgemmProblem p;
  std::vector<double> x;     ///< [M,K]
  std::vector<double> w;     ///< [N,K]
  std::vector<double> bias;  ///< [N], zeros if there is none
  Activation activation = Activation::kNone;
  std::vector<double> x_scale;  ///< [M], integer operands: acc = Σx·w / (x_scale·w_scale)
  std::vector<double> w_scale;  ///< [N]
};

Dense decode(const Problem& problem, std::span<const Tensor> in) {
  Dense dense;
  dense.p = QgemmProblem::from(problem);
  const QgemmProblem& p = dense.p;
  dense.x.resize(static_cast<std::size_t>(p.M * p.K));
  dense.w.resize(static_cast<std::size_t>(p.N * p.K));
  dense.bias.assign(static_cast<std::size_t>(p.N), 0);
  const float tensor_scale = x_tensor_scale(p, in);
  for (std::int64_t m = 0; m < p.M; ++m) {
    decode_x_row(p, in, m, tensor_scale, dense.x.data() + m * p.K);
  }
  for (std::int64_t n = 0; n < p.N; ++n) {
    decode_w_row(p, in, n, dense.w.data() + n * p.K);
    if (p.has_bias) dense.bias[static_cast<std::size_t>(n)] = value_at(in[kQgemmBias], n);
  }
  dense.activation = p.activation;
  if (p.integer_operands()) {
    for (std::int64_t m = 0; m < p.M; ++m) dense.x_scale.push_back(value_at(in[kQgemmXScale], m));
    for (std::int64_t n = 0; n < p.N; ++n) dense.w_scale.push_back(value_at(in[kQgemmWScale], n));
  }
  return dense;
}

// How products are summed.
enum class Accumulator { kExact, kHalf };

double sum_products(const double* x, const double* w, std::int64_t K, Accumulator accumulator) {
  double sum = 0;
  for (std::int64_t k = 0; k < K; ++k) {
    sum += x[k] * w[k];
    if (accumulator == Accumulator::kExact || sum == 0 || !std::isfinite(sum)) continue;
    // fp16's 11 bits, whatever the exponent: overflow would be too easy to see.
    const double unit = std::ldexp(1.0, std::ilogb(sum) - 10);
    sum = std::nearbyint(sum / unit) * unit;
  }
  return sum;
}

Outputs multiply(const Dense& d, Accumulator accumulator) {
  Outputs outputs;
  outputs.emplace_back(d.p.out_dtype, Shape{d.p.M, d.p.N});
  if (d.p.integer_operands()) outputs.emplace_back(DType::kS32, Shape{d.p.M, d.p.N});
  for (std::int64_t m = 0; m < d.p.M; ++m) {
    for (std::int64_t n = 0; n < d.p.N; ++n) {
      const double z =
          sum_products(d.x.data() + m * d.p.K, d.w.data() + n * d.p.K, d.p.K, accumulator);
      const std::int64_t i = m * d.p.N + n;
      store_rounded(outputs[kQgemmY].view(), i,
                    activate(d.activation, z + d.bias[static_cast<std::size_t>(n)]));
      if (!d.p.integer_operands()) continue;
      const double acc =
          z / (d.x_scale[static_cast<std::size_t>(m)] * d.w_scale[static_cast<std::size_t>(n)]);
      outputs[kQgemmAcc].view().as<std::int32_t>()[i] =
          static_cast<std::int32_t>(std::clamp(std::nearbyint(acc), -2147483648.0, 2147483647.0));
    }
  }
  return outputs;
}

void drop_from(Dense& d, std::int64_t first_k) {
  for (std::int64_t m = 0; m < d.p.M; ++m) {
    for (std::int64_t k = std::max<std::int64_t>(first_k, 0); k < d.p.K; ++k) {
      d.x[static_cast<std::size_t>(m * d.p.K + k)] = 0;
    }
  }
}

constexpr std::int64_t kDroppedTile = 32;

void drop_last_tile(Dense& d) {
  // The last, possibly short, tile of 32.
  if (d.p.K > 0) drop_from(d, (d.p.K - 1) / kDroppedTile * kDroppedTile);
}

// The integers that a wrong kernel would leave in without their zero points.
void add_w_zero_points(Dense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  std::vector<std::int32_t> codes(static_cast<std::size_t>(p.K));
  std::vector<float> scales(static_cast<std::size_t>(p.w_groups()));
  std::vector<float> offsets(scales.size());
  for (std::int64_t n = 0; n < p.N; ++n) {
    integer_w_row(p, in, n, codes.data(), scales.data(), offsets.data());
    for (std::int64_t k = 0; k < p.K; ++k) {
      const std::int64_t g = k / p.w_group;
      const auto group = static_cast<std::size_t>(g);
      double added = 8.0 * scales[group];
      if (p.w_kind == WKind::kQ4kBlock) added = offsets[group];
      if (p.w_kind == WKind::kInt4Asym) {
        added = in[kQgemmWZero].as<std::uint8_t>()[n * p.w_groups() + g] *
                static_cast<double>(scales[group]);
      }
      d.w[static_cast<std::size_t>(n * p.K + k)] += added;
    }
  }
}

void add_x_zero_points(Dense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  std::vector<std::int32_t> codes(static_cast<std::size_t>(p.K));
  float scale = 1;
  std::int32_t zero = 0;
  for (std::int64_t m = 0; m < p.M; ++m) {
    quantize_x_row(p, in, m, 1, codes.data(), &scale, &zero);
    for (std::int64_t k = 0; k < p.K; ++k) {
      d.x[static_cast<std::size_t>(m * p.K + k)] += static_cast<double>(zero) * scale;
    }
  }
}

bool has_x_zero_points(const QgemmProblem& p) { return p.x_kind == XKind::kU8Row || p.has_x_zero; }

bool has_w_zero_points(const QgemmProblem& p) {
  return p.w_kind == WKind::kInt4 || p.w_kind == WKind::kInt4Asym || p.w_kind == WKind::kQ4Block ||
         p.w_kind == WKind::kQ4kBlock;
}

void drop_zero_points(Dense& d, std::span<const Tensor> in) {
  has_x_zero_points(d.p) ? add_x_zero_points(d, in) : add_w_zero_points(d, in);
}

// Rows 0 and 1 of x with each other's scales.
void swap_x_scales(Dense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  if (p.M < 2 || p.K == 0) return;
  std::vector<double> first(static_cast<std::size_t>(p.x_groups()));
  std::vector<double> second(first.size());
  x_row_scales(p, in, 0, first.data());
  x_row_scales(p, in, 1, second.data());
  for (std::int64_t k = 0; k < p.K; ++k) {
    const auto g = static_cast<std::size_t>(k / p.x_group);
    d.x[static_cast<std::size_t>(k)] *= second[g] / first[g];
    d.x[static_cast<std::size_t>(p.K + k)] *= first[g] / second[g];
  }
}

// Quotients by a reciprocal in fp32 instead of fp64.
void quantize_by_reciprocal(Dense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  std::vector<double> scales(static_cast<std::size_t>(p.x_groups()));
  for (std::int64_t m = 0; m < p.M; ++m) {
    const float tensor_scale = x_tensor_scale(p, in);
    if (p.x_kind == XKind::kS8Tensor || p.x_kind == XKind::kS8Static) {
      std::fill(scales.begin(), scales.end(), tensor_scale);
    } else {
      x_row_scales(p, in, m, scales.data());
    }
    const bool fp8 = !p.integer_products();
    for (std::int64_t k = 0; k < p.K; ++k) {
      const double scale = scales[static_cast<std::size_t>(k / p.x_group)];
      const float inverse = 1.0F / static_cast<float>(scale);
      const float quotient = in[kQgemmX].as<float>()[m * p.K + k] * inverse;
      const FloatFormat& format = p.fp8_dtype == DType::kE5m2 ? kE5m2Format : kE4m3Format;
      // Saturation as in the right codes; only the rounding of near ties differs.
      const double code = fp8 ? decode_float(format, encode_saturating(format, quotient))
                              : std::nearbyint(std::clamp(quotient, -255.0F, 255.0F));
      double& value = d.x[static_cast<std::size_t>(m * p.K + k)];
      if (std::abs(code * scale - value) < 1.5 * scale || fp8) value = code * scale;
    }
  }
}

struct ScaleLayout {
  std::size_t stride = 0;  ///< bytes from one group's scale to the next
  std::size_t size = 0;    ///< bytes of a scale
  std::size_t row = 0;     ///< bytes from one row's scales to the next
  std::int64_t rows = 0;
  std::int64_t groups = 0;
  std::byte* data = nullptr;
};

ScaleLayout w_scales(const QgemmProblem& p, std::span<const Tensor> in) {
  const auto row_bytes = static_cast<std::size_t>(p.w_row_bytes());
  switch (p.w_kind) {
    case WKind::kQ8Block:
      return {34, 2, row_bytes, p.N, p.w_groups(), in[kQgemmW].data};
    case WKind::kQ4Block:
      return {18, 2, row_bytes, p.N, p.w_groups(), in[kQgemmW].data};
    case WKind::kQ4kBlock:
      return {144, 2, row_bytes, p.N, (p.K + 255) / 256, in[kQgemmW].data};
    default: {
      const Tensor& scales = in[kQgemmWScale];
      const std::size_t size = size_of(scales.dtype);
      const std::int64_t groups = scales.shape.rank() == 2 ? scales.shape[1] : 1;
      return {size,   size,       size * static_cast<std::size_t>(groups), scales.shape[0],
              groups, scales.data};
    }
  }
}

void swap_bytes(std::byte* a, std::byte* b, std::size_t count) {
  std::swap_ranges(a, a + count, b);
}

void swap_w_scale_rows(const QgemmProblem& p, std::span<const Tensor> in) {
  const ScaleLayout scales = w_scales(p, in);
  if (scales.rows < 2) return;
  for (std::int64_t g = 0; g < scales.groups; ++g) {
    std::byte* at = scales.data + static_cast<std::size_t>(g) * scales.stride;
    swap_bytes(at, at + scales.row, scales.size);
  }
}

void swap_w_scale_groups(const QgemmProblem& p, std::span<const Tensor> in) {
  const ScaleLayout scales = w_scales(p, in);
  if (scales.groups < 2) return;
  for (std::int64_t n = 0; n < scales.rows; ++n) {
    std::byte* at = scales.data + static_cast<std::size_t>(n) * scales.row;
    swap_bytes(at, at + scales.stride, scales.size);
  }
}

bool packs_nibbles(const QgemmProblem& p) {
  switch (p.w_kind) {
    case WKind::kInt4:
    case WKind::kInt4Asym:
    case WKind::kQ4Block:
    case WKind::kQ4kBlock:
    case WKind::kNf4:
    case WKind::kMxfp4:
    case WKind::kNvfp4:
      return true;
    default:
      return false;
  }
}

// Both nibbles of every code byte exchanged; headers of blocks stay.
void swap_nibbles(const QgemmProblem& p, std::span<const Tensor> in) {
  const std::size_t block = p.w_kind == WKind::kQ4Block    ? 18
                            : p.w_kind == WKind::kQ4kBlock ? 144
                                                           : 1;
  const std::size_t header = p.w_kind == WKind::kQ4Block    ? 2
                             : p.w_kind == WKind::kQ4kBlock ? 16
                                                            : 0;
  for (std::size_t i = 0; i < in[kQgemmW].bytes(); ++i) {
    std::byte& byte = in[kQgemmW].data[i];
    if (i % block >= header) byte = byte >> 4 | byte << 4;
  }
}

// Sums of codes that saturate at 16 bits, per group.
Outputs saturate_int16(const Dense& d, std::span<const Tensor> in) {
  const QgemmProblem& p = d.p;
  Dense faulty = d;
  const auto K = static_cast<std::size_t>(p.K);
  std::vector<std::int32_t> x(K);
  std::vector<std::int32_t> w(K);
  std::vector<float> x_scales(static_cast<std::size_t>(p.x_groups()));
  std::vector<float> w_scales(static_cast<std::size_t>(p.w_groups()));
  std::vector<float> offsets(w_scales.size());
  Outputs outputs = multiply(d, Accumulator::kExact);
  const float tensor_scale = x_tensor_scale(p, in);
  for (std::int64_t m = 0; m < p.M; ++m) {
    std::int32_t zero = 0;
    quantize_x_row(p, in, m, tensor_scale, x.data(), x_scales.data(), &zero);
    for (std::int64_t n = 0; n < p.N; ++n) {
      integer_w_row(p, in, n, w.data(), w_scales.data(), offsets.data());
      double z = 0;
      std::int64_t last = 0;
      for (std::int64_t g = 0; g < p.w_groups(); ++g) {
        std::int64_t acc = 0;
        double x_sum = 0;
        for (std::int64_t k = g * p.w_group; k < std::min(p.K, (g + 1) * p.w_group); ++k) {
          const auto i = static_cast<std::size_t>(k);
          const std::int64_t product = (std::int64_t{x[i]} - zero) * w[i];
          acc = std::clamp<std::int64_t>(acc + product, -32768, 32767);
          x_sum += x[i];
        }
        const auto i = static_cast<std::size_t>(g);
        z += x_scales[i] * (static_cast<double>(acc) * w_scales[i] - x_sum * offsets[i]);
        last = acc;
      }
      const std::int64_t i = m * p.N + n;
      store_rounded(outputs[kQgemmY].view(), i,
                    activate(d.activation, z + d.bias[static_cast<std::size_t>(n)]));
      if (p.integer_operands()) {
        outputs[kQgemmAcc].view().as<std::int32_t>()[i] = static_cast<std::int32_t>(last);
      }
    }
  }
  return outputs;
}

Outputs accumulate_16bit(const Dense& d, std::span<const Tensor> in) {
  return d.p.integer_products() ? saturate_int16(d, in) : multiply(d, Accumulator::kHalf);
}

void scale_outputs(Outputs& outputs, double factor) {
  for (HostTensor& output : outputs) {
    for (std::int64_t i = 0; i < output.elements(); ++i) {
      if (output.dtype() == DType::kS32) {
        std::int32_t& value = output.view().as<std::int32_t>()[i];
        value = static_cast<std::int32_t>(
            static_cast<std::uint32_t>(static_cast<std::int64_t>(factor) * value));
      } else {
        store_rounded(output.view(), i, factor * output.value(i));
      }
    }
  }
}

void swap_elements(const Tensor& tensor, std::int64_t i, std::int64_t j) {
  const std::size_t size = size_of(tensor.dtype);
  swap_bytes(tensor.data + static_cast<std::size_t>(i) * size,
             tensor.data + static_cast<std::size_t>(j) * size, size);
}

constexpr std::int64_t kTransposedTile = 16;

void transpose_tile(const QgemmProblem& p, Outputs& outputs) {
  const std::int64_t size = std::min({kTransposedTile, p.M, p.N});
  for (const HostTensor& output : outputs) {
    for (std::int64_t m = 0; m < size; ++m) {
      for (std::int64_t n = 0; n < m; ++n) swap_elements(output.view(), m * p.N + n, n * p.N + m);
    }
  }
}

void leave_last_unwritten(Outputs& outputs) {
  for (const HostTensor& output : outputs) {
    if (output.elements() == 0) continue;
    const std::int64_t last = output.elements() - 1;
    if (output.dtype() == DType::kS32) {
      output.view().as<std::int32_t>()[last] = std::numeric_limits<std::int32_t>::min();
    } else {
      store_rounded(output.view(), last, std::numeric_limits<double>::quiet_NaN());
    }
  }
}

// The last row, or column, holds the one before it: a tail handled one short.
void repeat_row(const QgemmProblem& p, Outputs& outputs) {
  if (p.M < 2) return;
  for (const HostTensor& output : outputs) {
    const auto row = static_cast<std::size_t>(p.N) * size_of(output.dtype());
    std::byte* last = output.view().data + static_cast<std::size_t>(p.M - 1) * row;
    std::memcpy(last, last - row, row);
  }
}

void repeat_column(const QgemmProblem& p, Outputs& outputs) {
  if (p.N < 2) return;
  for (const HostTensor& output : outputs) {
    const std::size_t size = size_of(output.dtype());
    for (std::int64_t m = 0; m < p.M; ++m) {
      std::byte* last = output.view().data + static_cast<std::size_t>((m + 1) * p.N - 1) * size;
      std::memcpy(last, last - size, size);
    }
  }
}

// Reasons why a mutant cannot exist for a problem; "" if it can.
std::string never(const QgemmProblem&) { return ""; }
std::string without_w_scales(const QgemmProblem& p) {
  if (p.w_kind == WKind::kFloat) return "w has no scales";
  return p.scheme->x == XKind::kS8Tensor && !p.integer_operands() ? "w has one scale" : "";
}
std::string without_w_groups(const QgemmProblem& p) {
  if (p.w_kind == WKind::kFloat) return "w has no scales";
  const bool per_row = p.w_kind == WKind::kS8 || p.w_kind == WKind::kFp8Row;
  return per_row ? "a row of w has one scale" : "";
}
std::string without_x_scales(const QgemmProblem& p) {
  if (p.x_kind == XKind::kFloat) return "x has no scales";
  const bool one = p.x_kind == XKind::kS8Tensor || p.x_kind == XKind::kS8Static;
  return one ? "x has one scale" : "";
}
std::string without_inexact_x_scales(const QgemmProblem& p) {
  if (p.x_kind == XKind::kFloat || p.x_kind == XKind::kInteger) return "x is not quantized here";
  return p.x_kind == XKind::kMxfp8 ? "quotients by powers of two are exact" : "";
}
std::string without_zero_points(const QgemmProblem& p) {
  return has_x_zero_points(p) || has_w_zero_points(p) ? "" : "the scheme has no zero point";
}
std::string without_nibbles(const QgemmProblem& p) {
  return packs_nibbles(p) ? "" : "w is not packed in nibbles";
}
std::string without_bias(const QgemmProblem& p) { return p.has_bias ? "" : "there is no bias"; }
std::string without_activation(const QgemmProblem& p) {
  return p.activation == Activation::kNone ? "there is no activation" : "";
}
std::string without_wide_sums(const QgemmProblem& p) {
  if (p.out_dtype != DType::kF32) return "judged with out_dtype = fp32";
  const bool fits = p.integer_products() && p.w_kind == WKind::kQ4Block;
  return fits ? "sums of 32 products of 4 by 8 bits fit 16 bits" : "";
}

struct MutantSpec {
  const char* name;
  std::string (*not_applicable)(const QgemmProblem&);
  void (*operands)(const QgemmProblem&, std::span<const Tensor>) = nullptr;
  void (*dense)(Dense&, std::span<const Tensor>) = nullptr;
  Outputs (*product)(const Dense&, std::span<const Tensor>) = nullptr;
  void (*outputs)(const QgemmProblem&, Outputs&) = nullptr;
};

const std::vector<MutantSpec>& specs() {
  static const std::vector<MutantSpec> list = {
      {.name = "zeros",
       .not_applicable = never,
       .outputs = [](const QgemmProblem&, Outputs& y) { scale_outputs(y, 0); }},
      {.name = "twice",
       .not_applicable = never,
       .outputs = [](const QgemmProblem&, Outputs& y) { scale_outputs(y, 2); }},
      {.name = "last_k_tile_dropped",
       .not_applicable = never,
       .dense = [](Dense& d, std::span<const Tensor>) { drop_last_tile(d); }},
      {.name = "last_k_dropped",
       .not_applicable = never,
       .dense = [](Dense& d, std::span<const Tensor>) { drop_from(d, d.p.K - 1); }},
      {.name = "swapped_w_scales",
       .not_applicable = without_w_scales,
       .operands = swap_w_scale_rows},
      {.name = "swapped_w_groups",
       .not_applicable = without_w_groups,
       .operands = swap_w_scale_groups},
      {.name = "swapped_x_scales", .not_applicable = without_x_scales, .dense = swap_x_scales},
      {.name = "swapped_nibbles", .not_applicable = without_nibbles, .operands = swap_nibbles},
      {.name = "codes_by_reciprocal",
       .not_applicable = without_inexact_x_scales,
       .dense = quantize_by_reciprocal},
      {.name = "missing_zero_point",
       .not_applicable = without_zero_points,
       .dense = drop_zero_points},
      {.name = "missing_bias",
       .not_applicable = without_bias,
       .dense = [](Dense& d,
                   std::span<const Tensor>) { std::fill(d.bias.begin(), d.bias.end(), 0.0); }},
      {.name = "missing_activation",
       .not_applicable = without_activation,
       .dense = [](Dense& d, std::span<const Tensor>) { d.activation = Activation::kNone; }},
      {.name = "accumulator_16bit",
       .not_applicable = without_wide_sums,
       .product = accumulate_16bit},
      {.name = "transposed_tile", .not_applicable = never, .outputs = transpose_tile},
      {.name = "last_row_repeated", .not_applicable = never, .outputs = repeat_row},
      {.name = "last_column_repeated", .not_applicable = never, .outputs = repeat_column},
      {.name = "element_not_written",
       .not_applicable = never,
       .outputs = [](const QgemmProblem&, Outputs& y) { leave_last_unwritten(y); }},
  };
  return list;
}

const MutantSpec& spec_of(std::string_view name) {
  for (const MutantSpec& spec : specs()) {
    if (spec.name == name) return spec;
  }
  throw InputError("qgemm has no mutant '" + std::string(name) + "'");
}

}  // namespace

std::vector<Mutant> qgemm_mutants(const Problem& like) {
  const QgemmProblem p = QgemmProblem::from(like);
  std::vector<Mutant> mutants;
  for (const MutantSpec& spec : specs()) mutants.push_back({spec.name, spec.not_applicable(p)});
  return mutants;
}

Outputs mutate_qgemm(std::string_view mutant, const Problem& problem, const Operands& operands) {
  const MutantSpec& spec = spec_of(mutant);
  Operands copy = operands;
  const std::vector<Tensor> in = qgemm_views(copy);
  const QgemmProblem p = QgemmProblem::from(problem);
  if (spec.operands != nullptr) spec.operands(p, in);
  Dense dense = decode(problem, in);
  if (spec.dense != nullptr) spec.dense(dense, in);
  Outputs outputs =
      spec.product != nullptr ? spec.product(dense, in) : multiply(dense, Accumulator::kExact);
  if (spec.outputs != nullptr) spec.outputs(p, outputs);
  return outputs;
}

}  // namespace pareto
