// From original tensors to the operands that kernels are given.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "harness/errors.h"
#include "reference/number_formats.h"
#include "reference/parallel_rows.h"
#include "reference/qgemm_parts.h"
#include "reference/quantize.h"
#include "reference/quantize_weights.h"

namespace pareto {
namespace {

std::span<const float> row_of(const HostTensor& tensor, std::int64_t row) {
  const std::int64_t K = tensor.shape()[1];
  return {tensor.view().as<float>() + row * K, static_cast<std::size_t>(K)};
}

bool quantizes(const QgemmProblem& problem) {
  return problem.x_kind != XKind::kFloat || problem.w_kind != WKind::kFloat;
}

void refuse_non_finite(const QgemmProblem& problem, const std::string& name,
                       const HostTensor& tensor) {
  const std::span<const float> values = tensor.span<const float>();
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  if (bad == values.end()) return;
  const std::int64_t i = bad - values.begin();
  const std::int64_t columns = tensor.shape()[tensor.shape().rank() - 1];
  throw InputError(fmt::format(
      "dataset {}: element [{}, {}] = {} is not finite; scheme {} quantizes and takes only finite "
      "operands",
      name, i / columns, i % columns, *bad, problem.scheme->name));
}

// x or w in the element type of slot x. A quantizing scheme refuses what overflows on the way.
HostTensor rounded(const QgemmProblem& problem, const std::string& name, const HostTensor& source) {
  if (problem.x_dtype == DType::kF32) return source;
  HostTensor result(problem.x_dtype, source.shape());
  const std::int64_t rows = source.shape()[0];
  const std::int64_t columns = source.shape()[1];
  parallel_rows(rows, threads_for(source.elements()), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * columns; i < end * columns; ++i) {
      const float value = source.view().as<float>()[i];
      store_rounded(result.view(), i, value);
      if (quantizes(problem) && std::abs(value) > largest_finite(problem.x_dtype) &&
          !std::isfinite(result.value(i))) {
        throw InputError(
            fmt::format("dataset {}: element [{}, {}] = {} overflows {}, whose largest value is {}",
                        name, i / columns, i % columns, value, name_of(problem.x_dtype),
                        largest_finite(problem.x_dtype)));
      }
    }
  });
  return result;
}

DType w_dtype_of(const QgemmProblem& problem) {
  switch (problem.w_kind) {
    case WKind::kS8:
      return DType::kS8;
    case WKind::kFp8Row:
      return problem.fp8_dtype;
    case WKind::kFp8Block:
    case WKind::kMxfp8:
      return DType::kE4m3;
    default:
      return DType::kU8;
  }
}

// Empty tensor of slot w_scale, absent where scales stand in blocks or there are none.
HostTensor w_scale_tensor(const QgemmProblem& problem) {
  const std::int64_t N = problem.N;
  switch (problem.w_kind) {
    case WKind::kFloat:
    case WKind::kQ8Block:
    case WKind::kQ4Block:
    case WKind::kQ4kBlock:
      return {};
    case WKind::kS8:
    case WKind::kFp8Row:
      return {DType::kF32, Shape{N}};
    case WKind::kFp8Block:
      return {DType::kF32, Shape{(N + 127) / 128, problem.w_groups()}};
    case WKind::kInt4:
    case WKind::kInt4Asym:
      return {DType::kF16, Shape{N, problem.w_groups()}};
    case WKind::kNf4:
      return {DType::kF32, Shape{N, problem.w_groups()}};
    case WKind::kNvfp4:
      return {DType::kE4m3, Shape{N, problem.w_groups()}};
    default:
      return {DType::kU8, Shape{N, problem.w_groups()}};
  }
}

// Scales of the 128 × 128 blocks of w.
void fill_block_scales(const QgemmProblem& problem, const HostTensor& w, HostTensor& scales) {
  const std::int64_t groups = problem.w_groups();
  std::vector<float> amax(static_cast<std::size_t>(scales.elements()));
  for (std::int64_t n = 0; n < problem.N; ++n) {
    const std::span<const float> row = row_of(w, n);
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t begin = g * problem.w_group;
      const std::int64_t count = std::min(problem.w_group, problem.K - begin);
      float& block = amax[static_cast<std::size_t>(n / 128 * groups + g)];
      block = std::max(block, amax_of(row.subspan(static_cast<std::size_t>(begin),
                                                  static_cast<std::size_t>(count))));
    }
  }
  for (std::size_t i = 0; i < amax.size(); ++i) {
    scales.span<float>()[i] = scale_of(amax[i], 448);
  }
}

// Part [n·count, (n+1)·count) of an optional tensor.
template <typename T>
std::span<T> part_of(const HostTensor& tensor, std::size_t size, std::int64_t n,
                     std::int64_t count) {
  if (!tensor.present() || size_of(tensor.dtype()) != size) return {};
  return {tensor.view().as<T>() + n * count, static_cast<std::size_t>(count)};
}

void encode_w(const QgemmProblem& problem, const HostTensor& w, Operands& operands) {
  if (problem.w_kind == WKind::kFloat) {
    operands[kQgemmW] = rounded(problem, "w", w);
    return;
  }
  HostTensor codes(w_dtype_of(problem), Shape{problem.N, problem.w_row_bytes()});
  HostTensor scales = w_scale_tensor(problem);
  HostTensor zeros;
  if (problem.w_kind == WKind::kInt4Asym) {
    zeros = HostTensor(DType::kU8, Shape{problem.N, problem.w_groups()});
  }
  SharedScales shared;
  const bool block = problem.w_kind == WKind::kFp8Block;
  if (block) fill_block_scales(problem, w, scales);
  if (problem.w_kind == WKind::kNvfp4) {
    shared.tensor = scale_of(amax_of(w.span<const float>()), 2688);
    operands[kQgemmWTensorScale] = HostTensor(DType::kF32, Shape{1});
    operands[kQgemmWTensorScale].span<float>()[0] = shared.tensor;
  } else if (problem.scheme->x == XKind::kS8Tensor) {
    shared.tensor = scale_of(amax_of(w.span<const float>()), 127);
  }
  const std::int64_t groups = problem.w_groups();
  const std::int64_t own = block ? 0 : scales.present() && scales.shape().rank() == 1 ? 1 : groups;
  parallel_rows(problem.N, threads_for(w.elements()), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      SharedScales row_scales = shared;
      if (block) row_scales.block = part_of<const float>(scales, 4, n / 128, groups);
      quantize_w_row(
          problem, row_of(w, n), n, row_scales,
          {part_of<std::uint8_t>(codes, 1, n, problem.w_row_bytes()),
           part_of<std::uint8_t>(scales, 1, n, own), part_of<std::uint16_t>(scales, 2, n, own),
           part_of<float>(scales, 4, n, own), part_of<std::uint8_t>(zeros, 1, n, groups)});
    }
  });
  operands[kQgemmW] = std::move(codes);
  operands[kQgemmWScale] = std::move(scales);
  operands[kQgemmWZero] = std::move(zeros);
}

// Σ(x − zero)·w of one row must fit int32 for every n. The cheap test settles ordinary zero points.
void check_row_fits(const QgemmProblem& problem, const HostTensor& x, const HostTensor& w,
                    std::int64_t zero, std::int64_t m) {
  const bool is_unsigned = problem.x_dtype == DType::kU8;
  const std::int64_t lowest = is_unsigned ? 0 : -128;
  const std::int64_t furthest = std::max(std::abs(lowest - zero), std::abs(lowest + 255 - zero));
  const double reach = static_cast<double>(problem.K) * 128 * static_cast<double>(furthest);
  if (reach <= std::numeric_limits<std::int32_t>::max()) return;
  for (std::int64_t n = 0; n < problem.N; ++n) {
    __extension__ __int128 acc = 0;
    for (std::int64_t k = 0; k < problem.K; ++k) {
      const auto code = static_cast<std::int64_t>(x.value(m * problem.K + k));
      acc += static_cast<__int128>(code - zero) * w.view().as<std::int8_t>()[n * problem.K + k];
    }
    if (acc > std::numeric_limits<std::int32_t>::max() ||
        acc < std::numeric_limits<std::int32_t>::min()) {
      throw InputError(fmt::format(
          "dataset x_zero: with x_zero[{}] = {} the sum acc[{}, {}] = {} does not fit int32", m,
          zero, m, n, static_cast<double>(acc)));
    }
  }
}

Operands encode_integers(const QgemmProblem& problem, const TensorMap& inputs) {
  Operands operands(kQgemmSlotCount);
  const HostTensor& x = inputs.at("x_q");
  const HostTensor& w = inputs.at("w_q");
  if (problem.has_x_zero) {
    const HostTensor& zeros = inputs.at("x_zero");
    parallel_rows(problem.M, threads_for(w.elements()), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t m = begin; m < end; ++m) {
        check_row_fits(problem, x, w, zeros.view().as<std::int32_t>()[m], m);
      }
    });
    operands[kQgemmXZero] = zeros;
  }
  operands[kQgemmX] = x;
  operands[kQgemmXScale] = inputs.at("x_scale");
  operands[kQgemmW] = w;
  operands[kQgemmWScale] = inputs.at("w_scale");
  return operands;
}

Operands encode_floats(const QgemmProblem& problem, const TensorMap& inputs) {
  Operands operands(kQgemmSlotCount);
  const HostTensor& x = inputs.at("x");
  const HostTensor& w = inputs.at("w");
  if (quantizes(problem)) {
    refuse_non_finite(problem, "x", x);
    refuse_non_finite(problem, "w", w);
  }
  operands[kQgemmX] = rounded(problem, "x", x);
  encode_w(problem, w, operands);
  if (problem.x_kind == XKind::kS8Static) {
    const auto calibration = inputs.find("x_calib");
    if (calibration == inputs.end()) {
      throw InputError("dataset x_calib is missing: scheme w8a8_static takes its scale from it");
    }
    if (calibration->second.elements() > 0) {
      refuse_non_finite(problem, "x_calib", calibration->second);
    }
    operands[kQgemmXScale] = HostTensor(DType::kF32, Shape{1});
    operands[kQgemmXScale].span<float>()[0] =
        scale_of(amax_of(calibration->second.span<const float>()), 127);
  }
  return operands;
}

}  // namespace

void check_k_limit(const QgemmProblem& problem) {
  // 2^31 − 1 over the largest product: s8 down to −128 on both sides, ±127 on both, and a u8 with
  // its zero point (±255) against −128.
  struct Limit {
    bool applies;
    std::int64_t K;
    const char* operands;
  };
  const bool one_sum = problem.integer_products() && problem.x_kind != XKind::kS8Group;
  const bool is_unsigned = problem.x_kind == XKind::kU8Row || problem.x_dtype == DType::kU8;
  const Limit limits[] = {
      {one_sum && is_unsigned, 65793, "uint8 times int8"},
      {one_sum && problem.integer_operands(), 131071, "int8 times int8"},
      {one_sum, 133144, "int8 within ±127"},
  };
  for (const Limit& limit : limits) {
    if (!limit.applies) continue;
    if (problem.K <= limit.K) return;
    throw CannotRunError(
        fmt::format("K = {} is beyond {}, the largest K for which a sum of {} products fits int32",
                    problem.K, limit.K, limit.operands));
  }
}

std::vector<Tensor> qgemm_views(const Operands& operands) {
  std::vector<Tensor> views;
  views.reserve(operands.size());
  for (const HostTensor& operand : operands) views.push_back(operand.view());
  return views;
}

Operands encode_qgemm(const Problem& problem, const TensorMap& inputs) {
  const QgemmProblem p = QgemmProblem::from(problem);
  check_k_limit(p);
  Operands operands = p.integer_operands() ? encode_integers(p, inputs) : encode_floats(p, inputs);
  if (p.has_bias) operands[kQgemmBias] = inputs.at("bias");
  return operands;
}

}  // namespace pareto
