#include "harness/checker.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "harness/reference_cache.h"

namespace pareto {
namespace {

/// True if some element has all the exponent bits of `mask` set: an infinity or a NaN.
template <typename T>
bool any_with_bits(const Tensor& tensor, T mask) {
  const std::int64_t count = tensor.elements();
  for (std::int64_t i = 0; i < count; ++i) {
    T bits;
    std::memcpy(&bits, tensor.data + i * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    if ((bits & mask) == mask) return true;
  }
  return false;
}

bool any_non_finite(const Tensor& tensor) {
  switch (tensor.dtype) {
    case DType::kF64:
      return any_with_bits<std::uint64_t>(tensor, 0x7FF0000000000000U);
    case DType::kF32:
      return any_with_bits<std::uint32_t>(tensor, 0x7F800000U);
    case DType::kBf16:
      return any_with_bits<std::uint16_t>(tensor, 0x7F80U);
    case DType::kF16:
      return any_with_bits<std::uint16_t>(tensor, 0x7C00U);
    case DType::kE4m3:  // no infinities; NaN is all ones
      return any_with_bits<std::uint8_t>(tensor, 0x7FU);
    case DType::kE5m2:
      return any_with_bits<std::uint8_t>(tensor, 0x7CU);
    default:
      return false;
  }
}

double larger(double a, double b) { return std::isnan(a) || b > a ? b : a; }

}  // namespace

Expected expect(const Problem& problem, const Operands& operands, bool exact, std::uint64_t seed,
                int threads) {
  Expected expected;
  expected.problem = problem;
  expected.exact = exact;
  expected.outputs = problem.op().outputs(problem, operands);
  expected.positions = problem.op().positions(problem, operands, seed);
  expected.operands_finite = all_finite(operands);
  expected.terms = ReferenceCache::shared().terms(problem, operands, expected.positions, threads);
  return expected;
}

std::vector<Bounds> bounds_of(const Expected& expected, const Arithmetic& arithmetic) {
  std::vector<Bounds> bounds;
  for (std::size_t i = 0; i < expected.outputs.size(); ++i) {
    bounds.push_back(expected.problem.op().bound(expected.problem, static_cast<int>(i),
                                                 (*expected.terms)[i], arithmetic));
  }
  return bounds;
}

Verdict verify(const Expected& expected, std::span<const Bounds> bounds,
               std::span<const Tensor> got) {
  Verdict total;
  for (std::size_t i = 0; i < expected.outputs.size(); ++i) {
    const BoundTestOptions options{.name = expected.outputs[i].name,
                                   .exact = expected.exact,
                                   .operands_finite = expected.operands_finite};
    Verdict verdict =
        bound_test(got[i], expected.positions[i], (*expected.terms)[i], bounds[i], options);
    verdict.n_compared += total.n_compared;
    if (!verdict.pass) return verdict;
    if (i == 0) {
      total = std::move(verdict);
      continue;
    }
    total.n_compared = verdict.n_compared;
    total.bound_max = larger(total.bound_max, verdict.bound_max);
    total.rms_ratio = larger(total.rms_ratio, verdict.rms_ratio);
  }
  return total;
}

std::vector<Tensor> views_of(std::span<const HostTensor> tensors) {
  std::vector<Tensor> views;
  for (const HostTensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

std::vector<double> values_at(const Expected& expected, std::span<const Tensor> got) {
  std::vector<double> values;
  for (const std::int64_t position : expected.positions.at(0)) {
    values.push_back(value_at(got[0], position));
  }
  return values;
}

std::vector<double> values_of(const Expected& expected) {
  return expected.terms->at(0).column.at(0);
}

bool all_finite(const Operands& operands) {
  return std::none_of(operands.begin(), operands.end(),
                      [](const HostTensor& operand) { return any_non_finite(operand.view()); });
}

}  // namespace pareto
