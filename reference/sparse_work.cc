// Operations and bytes of sparse layers.
#include <algorithm>
#include <cmath>
#include <vector>

#include "reference/sparse_formats.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

// Bytes of the weights as stored.
double stored_bytes(const Operands& operands) {
  double bytes = 0;
  for (int slot = kSparseValues; slot < kSparseBias; ++slot) {
    bytes += static_cast<double>(operands[static_cast<std::size_t>(slot)].view().bytes());
  }
  return bytes;
}

// Share of weights (skip_x: of x) that stay, as far as the keys tell.
double density_of(const SparseProblem& p, const SparsePruning& pruning) {
  if (pruning.method == SparsePruning::Method::kNm) {
    return static_cast<double>(pruning.n) / static_cast<double>(pruning.m);
  }
  if (!pruning.keep) return 1 - pruning.sparsity;
  return p.format == SparseFormat::k2to4 ? 0.5 : 1.0;
}

double estimated_bytes(const SparseProblem& p, double density) {
  const auto N = static_cast<double>(p.N);
  const double dense = N * static_cast<double>(p.K);
  const auto element = static_cast<double>(size_of(p.dtype));
  switch (p.format) {
    case SparseFormat::kCsr:
    case SparseFormat::kSell:
      return dense * density * (element + 4) + 8 * N;
    case SparseFormat::kBsr:
      return dense * density * element;
    case SparseFormat::k2to4:
      return dense * (0.5 * element + 0.125);
    case SparseFormat::kBitmap:
      return dense * (density * element + 0.125) + 8 * N;
    case SparseFormat::kSkipX:
      return dense * element;
    case SparseFormat::kLowRank:
      return static_cast<double>(p.rank * (p.N + p.K)) * element;
  }
  return dense * element;
}

// `products`: multiply-adds that are not pruned. `compressed`: bytes of the weights as stored.
// `read`: share of them that has to be read.
Work work_of(const SparseProblem& p, double products, double compressed, double read = 1) {
  const auto M = static_cast<double>(p.M);
  const auto N = static_cast<double>(p.N);
  const auto K = static_cast<double>(p.K);
  Work work;
  work.flops = 2 * products;
  work.compressed_bytes = compressed;
  work.dense16_bytes = 2 * N * K;
  work.bytes = read * compressed + M * K * static_cast<double>(size_of(p.dtype)) +
               M * N * static_cast<double>(size_of(p.out_dtype)) + (p.has_bias ? 4 * N : 0);
  work.unit = p.dtype == DType::kBf16 ? "dot_bf16" : "fma_fp32";
  return work;
}

struct Nonzeros {
  double elements = 0;
  double columns = 0;  ///< share of the columns where any token has one
};

Nonzeros nonzeros_of(const HostTensor& x, std::int64_t K) {
  Nonzeros found;
  std::vector<bool> any(static_cast<std::size_t>(K));
  for (std::int64_t i = 0; i < x.elements(); ++i) {
    if (x.value(i) == 0) continue;
    found.elements += 1;
    any[static_cast<std::size_t>(i % K)] = true;
  }
  const auto columns = static_cast<double>(std::count(any.begin(), any.end(), true));
  if (K > 0) found.columns = columns / static_cast<double>(K);
  return found;
}

}  // namespace

double dense_multiply_adds(const SparseProblem& p) {
  if (p.format == SparseFormat::kLowRank) {
    return static_cast<double>(p.M * p.rank) * static_cast<double>(p.N + p.K);
  }
  return static_cast<double>(p.M) * static_cast<double>(p.N) * static_cast<double>(p.K);
}

Work sparse_work(const Problem& problem, const Operands& operands) {
  const SparseProblem p = SparseProblem::from(problem);
  const std::vector<Tensor> in = sparse_views(operands);
  double products = dense_multiply_adds(p);
  if (p.format == SparseFormat::kSkipX) {
    const Nonzeros nonzeros = nonzeros_of(operands[kSparseX], p.K);
    return work_of(p, nonzeros.elements * static_cast<double>(p.N), stored_bytes(operands),
                   nonzeros.columns);
  }
  if (p.format != SparseFormat::kLowRank) {
    products = static_cast<double>(SparseReader(p, in).nonzeros()) * static_cast<double>(p.M);
  }
  return work_of(p, products, stored_bytes(operands));
}

Work sparse_estimate(const Problem& problem) {
  const SparseProblem p = SparseProblem::from(problem);
  const double density =
      p.format == SparseFormat::kLowRank ? 1 : density_of(p, SparsePruning::from(problem));
  // Columns that no token needs are not read; here the zeros of the tokens are independent.
  const double read =
      p.format == SparseFormat::kSkipX ? 1 - std::pow(1 - density, static_cast<double>(p.M)) : 1;
  return work_of(p, dense_multiply_adds(p) * density, estimated_bytes(p, density), read);
}

}  // namespace pareto
