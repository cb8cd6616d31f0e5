// Tensors whose parts stand in another order: other contents of the same kind.
#pragma once

#include <cstdint>

#include "harness/tensor.h"

namespace pareto {

/// `tensor` with row `by` (modulo their number) of its first dimension first, the rows before it
/// last. A tensor without rows as it is.
HostTensor rotated_rows(const HostTensor& tensor, std::int64_t by);

/// The same with the elements of every row of the last dimension.
HostTensor rotated_columns(const HostTensor& tensor, std::int64_t by);

}  // namespace pareto
