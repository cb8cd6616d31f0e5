// Compares one output with its reference: exactly, or within the bound that its arithmetic allows.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "harness/op.h"
#include "harness/tensor.h"

namespace pareto {

/// `value` rounded to nearest, ties to even, in a floating-point dtype (overflow gives infinity);
/// integers and fp64 are returned as they are.
double round_to(DType dtype, double value);

/// Outcome of one comparison. `check` names the first test that failed: "written" (an element kept
/// its poison), "nonfinite", "exact", "bound" or "rms"; empty when all passed.
struct Verdict {
  bool pass = true;
  std::string check;
  std::string message;  ///< one paragraph for people; empty when it passed
  double bound_max = std::numeric_limits<double>::quiet_NaN();     ///< max of error/bound
  double bound_median = std::numeric_limits<double>::quiet_NaN();  ///< median of error/bound
  double rms_ratio = std::numeric_limits<double>::quiet_NaN();     ///< RMS of error/T_stat
  std::int64_t n_compared = 0;
  std::int64_t n_wrong = 0;
  std::int64_t worst_index = -1;  ///< flat index of the largest error/bound
  double worst_got = 0;
  double worst_want = 0;
  double worst_bound = 0;
};

struct BoundTestOptions {
  std::string_view name;        ///< of the output, for messages
  bool exact = false;           ///< equal bit for bit to the rounded reference (−0 equals +0)
  bool operands_finite = true;  ///< then no element may be NaN, compared or not
};

/// `got` is a host tensor; `positions`, the terms' columns and the bounds are in the same order.
/// Every element of `got` is looked at for poison and non-finite values, those at `positions` are
/// compared.
Verdict bound_test(const Tensor& got, std::span<const std::int64_t> positions, const Terms& terms,
                   const Bounds& bounds, const BoundTestOptions& options);

/// Where the wrong elements (flat indices, ascending) of a tensor lie: "all in the last 16 of axis
/// 1 (112…127 of 128): the last N tile", "spread over all rows and columns: points at the K loop".
std::string locate(const Shape& shape, std::span<const std::int64_t> wrong);

}  // namespace pareto
