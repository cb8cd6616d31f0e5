// Faults of kernels, put into operands, into decoded operands or into outputs.
#pragma once

#include <cstdint>
#include <span>

#include "harness/op.h"
#include "reference/qgemm.h"
#include "reference/qgemm_dense.h"

namespace pareto {

// In encoded operands.

/// Rows 0 and 1 of w (or row blocks of 128) get each other's scales.
void swap_w_scale_rows(const QgemmProblem& problem, std::span<const Tensor> in);
/// Groups 0 and 1 of every row of w get each other's scales.
void swap_w_scale_groups(const QgemmProblem& problem, std::span<const Tensor> in);
/// Both nibbles of every code byte exchanged; headers of blocks stay.
void swap_nibbles(const QgemmProblem& problem, std::span<const Tensor> in);

// In decoded operands.

/// x is 0 from `first_k` on.
void drop_from(QgemmDense& dense, std::int64_t first_k);
/// The last, possibly short, tile of 32 along K.
void drop_last_tile(QgemmDense& dense);
/// Codes are taken for values without their zero points (of x if it has any, else of w).
void drop_zero_points(QgemmDense& dense, std::span<const Tensor> in);
/// Rows 0 and 1 of x get each other's scales.
void swap_x_scales(QgemmDense& dense, std::span<const Tensor> in);
/// Quotients by a reciprocal in fp32 instead of fp64.
void quantize_by_reciprocal(QgemmDense& dense, std::span<const Tensor> in);

// In outputs.

void scale_outputs(Outputs& outputs, double factor);
/// The first tile of 16 × 16, or of what is there.
void transpose_tile(const QgemmProblem& problem, Outputs& outputs);
/// NaN, or the lowest integer, in the last element.
void leave_last_unwritten(Outputs& outputs);
/// The last row, or column, holds the one before it: a tail handled one short.
void repeat_row(const QgemmProblem& problem, Outputs& outputs);
void repeat_column(const QgemmProblem& problem, Outputs& outputs);

bool has_x_zero_points(const QgemmProblem& problem);
bool has_w_zero_points(const QgemmProblem& problem);
bool packs_nibbles(const QgemmProblem& problem);

}  // namespace pareto
