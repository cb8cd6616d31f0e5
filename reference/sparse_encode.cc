// From original tensors to what a kernel is given: pruning, rounding, storing.
#include <algorithm>

#include "harness/errors.h"
#include "reference/low_rank.h"
#include "reference/number_formats.h"
#include "reference/prune.h"
#include "reference/sparse_formats.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

using Method = SparsePruning::Method;

void prune_to_sparsity(const SparseProblem& p, const SparsePruning& pruning, std::span<float> w,
                       std::int64_t rows, std::int64_t columns) {
  const bool per_row = pruning.method == Method::kMagnitudeRow;
  if (p.format == SparseFormat::kBsr) {
    prune_blocks(w, rows, columns, p.block, pruning.sparsity, per_row);
  } else if (p.format == SparseFormat::k2to4) {
    prune_n_of_m(w, rows, columns, 2, 4);
  } else if (per_row) {
    prune_magnitude_rows(w, rows, columns, pruning.sparsity);
  } else {
    prune_magnitude(w, pruning.sparsity);
  }
}

// Prunes a copy as the keys say and rounds it.
HostTensor pruned(const SparseProblem& p, const SparsePruning& pruning, const HostTensor& tensor) {
  const std::int64_t rows = tensor.shape()[0];
  const std::int64_t columns = tensor.shape()[1];
  const std::span<const float> values = tensor.span<const float>();
  std::vector<float> w(values.begin(), values.end());
  const bool by_method = pruning.method == Method::kNm || pruning.method == Method::kSoftThreshold;
  if (pruning.method == Method::kNm) {
    prune_n_of_m(w, rows, columns, pruning.n, pruning.m);
  } else if (pruning.method == Method::kSoftThreshold) {
    soft_threshold(w, pruning.theta, p.dtype);
  }
  // n, m and theta decide by themselves how much goes; 2to4 has to fit its format besides.
  if (!pruning.keep && (!by_method || p.format == SparseFormat::k2to4)) {
    prune_to_sparsity(p, pruning, w, rows, columns);
  }
  return rounded_tensor(w, Shape{rows, columns}, p.dtype);
}

HostTensor rounded_dense(const std::vector<double>& values, const Shape& shape, DType dtype) {
  HostTensor tensor(dtype, shape);
  for (std::size_t i = 0; i < values.size(); ++i) {
    store_rounded(tensor.view(), static_cast<std::int64_t>(i), values[i]);
  }
  return tensor;
}

void encode_factors(const SparseProblem& p, const SparsePruning& pruning, const TensorMap& inputs,
                    Operands& operands) {
  if (pruning.method == Method::kSvd) {
    const LowRankFactors factors =
        truncated_svd(inputs.at("w").span<const float>(), p.N, p.K, p.rank);
    operands[kSparseA] = rounded_dense(factors.a, Shape{p.N, p.rank}, p.dtype);
    operands[kSparseB] = rounded_dense(factors.b, Shape{p.rank, p.K}, p.dtype);
    return;
  }
  operands[kSparseA] =
      rounded_tensor(inputs.at("a").span<const float>(), Shape{p.N, p.rank}, p.dtype);
  operands[kSparseB] =
      rounded_tensor(inputs.at("b").span<const float>(), Shape{p.rank, p.K}, p.dtype);
}

}  // namespace

Operands encode_sparse(const Problem& problem, const TensorMap& inputs) {
  const SparseProblem p = SparseProblem::from(problem);
  const SparsePruning pruning = SparsePruning::from(problem);
  const HostTensor& x = inputs.at("x");
  Operands operands(kSparseSlotCount);
  if (p.format == SparseFormat::kSkipX) {
    operands[kSparseX] = pruned(p, pruning, x);
    operands[kSparseW] =
        rounded_tensor(inputs.at("w").span<const float>(), Shape{p.N, p.K}, p.dtype);
  } else {
    operands[kSparseX] = rounded_tensor(x.span<const float>(), Shape{p.M, p.K}, p.dtype);
    if (p.format == SparseFormat::kLowRank) {
      encode_factors(p, pruning, inputs, operands);
    } else {
      encode_sparse_weights(p, pruned(p, pruning, inputs.at("w")), operands);
    }
  }
  if (p.has_bias) operands[kSparseBias] = inputs.at("bias");
  return operands;
}

}  // namespace pareto
