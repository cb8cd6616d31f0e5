// Pruning of a dense fp32 matrix in place, as eval.md defines it: pruned weights become +0.
//
// Magnitudes are compared as they are stored; NaN is larger than infinity. Of equals the higher
// index goes, so that exactly the asked number survives.
#pragma once

#include <cstdint>
#include <span>

#include "harness/tensor.h"

namespace pareto {

/// p = rint(sparsity·count), ties to even.
std::int64_t pruned_count(double sparsity, std::int64_t count);

/// The p smallest |w| of the whole tensor go.
void prune_magnitude(std::span<float> w, double sparsity);

/// The same within each row of w[rows, columns].
void prune_magnitude_rows(std::span<float> w, std::int64_t rows, std::int64_t columns,
                          double sparsity);

/// Blocks of block × block by Σw² in fp64: the p smallest of all blocks go, or of each row of
/// blocks. Blocks at the edges count as whole ones.
void prune_blocks(std::span<float> w, std::int64_t rows, std::int64_t columns, std::int64_t block,
                  double sparsity, bool per_block_row);

/// Per aligned group of m columns the n largest |w| stay; the last group of a row may be short.
/// InputError if n > m or m < 1.
void prune_n_of_m(std::span<float> w, std::int64_t rows, std::int64_t columns, std::int64_t n,
                  std::int64_t m);

/// w = sign(w)·max(0, |w|−θ) in fp64, rounded once to `dtype`; NaN stays.
void soft_threshold(std::span<float> w, double theta, DType dtype);

}  // namespace pareto
