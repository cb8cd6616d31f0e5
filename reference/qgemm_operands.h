// Decoding qgemm's canonical operands, a row at a time: for the reference, the scalar variant and
// dequantize-then-GEMM baselines.
#pragma once

#include <cstdint>
#include <span>

#include "harness/tensor.h"
#include "reference/qgemm.h"

namespace pareto {

/// Row n of W, decoded exactly: K doubles. `in` is indexed by QgemmSlot.
void decode_w_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
                  double* row);

/// Row n of W as fp32, each value rounded once from the exact one: K floats.
void dequantize_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
                    float* row);

/// dmin·mn of every group of 32 of row n under q4_k, 0 under other schemes: w_groups() doubles.
void w_offsets(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
               double* offsets);

/// The values of row m of X after the scheme's own quantization (dynamic schemes quantize here),
/// exactly: K doubles. `tensor_scale` is what x_tensor_scale returned.
void decode_x_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t m,
                  float tensor_scale, double* row);

/// The one scale of x under w8a8_tensor (from all of x) and w8a8_static (from its slot); 1 else.
float x_tensor_scale(const QgemmProblem& problem, std::span<const Tensor> in);

/// The scales of row m of X, exactly, 1 where x has none: x_groups() doubles.
void x_row_scales(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t m,
                  double* scales);

/// Codes of row m of X and what turns them into values, for schemes with integer products:
/// value = (code − zero)·scale of the group. K codes, x_groups() scales.
void quantize_x_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t m,
                    float tensor_scale, std::int32_t* codes, float* scales, std::int32_t* zero);

/// Integer codes of row n of W with the zero point taken off, for schemes with integer products:
/// value = code·scale − offset of the group, where only q4_k has an offset (dmin·mn). K codes,
/// w_groups() scales and offsets (q4_k: of sub-blocks of 32), exact in fp32.
void integer_w_row(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
                   std::int32_t* codes, float* scales, float* offsets);

}  // namespace pareto
