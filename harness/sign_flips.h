// Contents that differ from others by the sign of single elements: cheap to make between two calls,
// and a result that is remembered under anything less than the whole content does not notice them.
#pragma once

#include <cstdint>

#include "harness/op.h"

namespace pareto {

/// True if the sign of an element is its top bit.
bool has_signs(const Tensor& tensor);

/// Flips the sign of one element, in place.
void flip_sign(const Tensor& tensor, std::int64_t element);

/// One element in each row (of the last dimension; an operand with a last dimension of 1 is one
/// row): `column` of row 0 and `stride` columns further, around the end, from row to row. Rows then
/// do not all change in lines of one set of a cache.
struct Diagonal {
  std::int64_t column = 0;
  std::int64_t stride = 0;
};

/// Elements of a row as a Diagonal has it.
std::int64_t row_length(const Tensor& tensor);

/// Flips the sign of one element in each row, in place.
void flip_diagonal(const Tensor& tensor, const Diagonal& diagonal);

/// Where a content may be changed.
struct FlipPlace {
  int slot = -1;  ///< −1: nowhere
  std::int64_t element = 0;
};

/// A finite nonzero element, past two thirds, of the largest floating-point operand that does not
/// outlive a call.
FlipPlace flip_place(const Problem& problem, const Operands& operands);

}  // namespace pareto
