// What the int8 variants keep about the rows of x besides their codes.
#pragma once

#include <cstdint>

#include "harness/aligned_buffer.h"

namespace pareto {

/// Per row of x[M,K]: value = (code − zero)·scale.
struct Int8Rows {
  explicit Int8Rows(std::int64_t M) : scale(M), start(M), zero(M) {}
  AlignedBuffer<float> scale;
  AlignedBuffer<std::int32_t> start;  ///< what the integer sums of the row begin with
  AlignedBuffer<std::int32_t> zero;   ///< of the codes as packed
};

}  // namespace pareto
