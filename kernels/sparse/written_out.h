// W of any format as a dense matrix of its own type: for variants that skip nothing.
#pragma once

#include <cstdint>
#include <span>

#include "harness/aligned_buffer.h"
#include "harness/tensor.h"
#include "harness/variant.h"
#include "reference/sparse.h"

namespace pareto {

/// The formats that `written_out` takes: all but lowrank.
inline Limit written_out_formats() {
  return {
      .key = "format",
      .values = {"csr", "sell", "bsr16", "bsr32", "bsr64", "bsr128", "2to4", "bitmap", "skip_x"}};
}

/// W of one of these formats as [N][columns] of `dtype`, columns at least K; zeros elsewhere.
AlignedBuffer<std::byte> written_out(const SparseProblem& problem, std::span<const Tensor> in,
                                     std::int64_t columns);

}  // namespace pareto
