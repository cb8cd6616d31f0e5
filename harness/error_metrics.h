// One set of numbers for how far an output is from what it should be.
#pragma once

#include <span>

namespace pareto {

/// Non-finite elements that agree (both NaN, or the same infinity) are left out; where only one
/// side is finite, or the infinities differ, the error is infinite.
struct ErrorMetrics {
  double max_abs = 0;
  double rms = 0;
  double rel_fro = 0;  ///< ‖got − want‖ / ‖want‖; 0/0 is 0
  double sqnr_db = 0;  ///< −20·log10(rel_fro); +inf where nothing differs
  double cosine = 1;   ///< NaN if one side is all zeros and the other is not
};

/// `got` and `want` hold the same elements in the same order.
ErrorMetrics error_metrics(std::span<const double> got, std::span<const double> want);

}  // namespace pareto
