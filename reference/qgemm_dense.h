// Small products in fp64 that faults can be put into.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/op.h"
#include "reference/qgemm.h"

namespace pareto {

/// Decoded operands of a small problem; faults are put in here.
struct QgemmDense {
  QgemmProblem p;
  std::vector<double> x;     ///< [M,K]
  std::vector<double> w;     ///< [N,K]
  std::vector<double> bias;  ///< [N], zeros if there is none
  Activation activation = Activation::kNone;
  std::vector<double> x_scale;  ///< [M], integer operands: acc = Σx·w / (x_scale·w_scale)
  std::vector<double> w_scale;  ///< [N]
};

QgemmDense decode_dense(const Problem& problem, std::span<const Tensor> in);

/// How products are summed.
enum class DenseAccumulator : std::uint8_t { kExact, kElevenBits };

/// All outputs, rounded to their types.
Outputs multiply_dense(const QgemmDense& dense, DenseAccumulator accumulator);

/// Sums of the codes of each group that saturate at 16 bits: for schemes with integer products.
Outputs multiply_saturating(const QgemmDense& dense, std::span<const Tensor> in);

}  // namespace pareto
