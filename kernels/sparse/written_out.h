// W of any format as a dense matrix of its own type: for variants that skip nothing.
#pragma once

#include <cstdint>
#include <span>

#include "harness/aligned_buffer.h"
#include "harness/tensor.h"
#include "reference/sparse.h"

namespace pareto {

/// Every format but lowrank to [N][columns] of `dtype`, columns at least K; zeros elsewhere.
AlignedBuffer<std::byte> written_out(const SparseProblem& problem, std::span<const Tensor> in,
                                     std::int64_t columns);

}  // namespace pareto
