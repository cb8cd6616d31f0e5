// How an error before the activation grows through it and through the rounding to the output's
// type: T(f) = L·T + u_f(|f| + min(|y|, 16)) + u_out|f|. For ops that end in bias and activation.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/arithmetic.h"
#include "reference/activation.h"
#include "reference/number_formats.h"

namespace pareto {

class ActivationBound {
 public:
  ActivationBound(Activation activation, DType out_dtype, const Arithmetic& arithmetic)
      : activation_(activation),
        u_out_(unit_roundoff(out_dtype)),
        normal_(smallest_normal(out_dtype)),
        relu_drops_nan_(arithmetic.relu_drops_nan),
        u_f_(activation == Activation::kRelu ? 0 : arithmetic.u_activation) {}

  /// Limit of the output's error: `value` is the output, `pre` the argument of the activation,
  /// `error` the limit there.
  [[nodiscard]] double det(double value, double pre, double error) const {
    const double total = lipschitz_of(activation_) * error + function_error(value, pre);
    if (total == 0 && value == 0) return 0;  // nothing was added, no function applied
    return total + u_out_ * std::max(std::abs(value) + total, normal_);
  }

  /// The same for the scale of the RMS test: roundings are independent and uniform.
  [[nodiscard]] double stat(double value, double pre, double error) const {
    const double before = lipschitz_of(activation_) * error;
    const double rounding = u_out_ * std::max(std::abs(value), normal_);
    const double function = function_error(value, pre);
    return std::sqrt(before * before + function * function + rounding * rounding / 3);
  }

  /// At −Inf the formulas of gelu and silu give NaN, their limit 0: either may come out. A relu
  /// that is declared to drop NaN may give anything there.
  [[nodiscard]] bool undefined_at(double pre) const {
    if (std::isnan(pre)) return relu_drops_nan_ && activation_ == Activation::kRelu;
    return pre == -std::numeric_limits<double>::infinity() &&
           (activation_ == Activation::kGelu || activation_ == Activation::kSilu);
  }

  /// What the function itself may be off by; 0 without one.
  [[nodiscard]] double function_error(double value, double pre) const {
    if (activation_ == Activation::kNone) return 0;
    return u_f_ * (std::abs(value) + std::min(std::abs(pre), 16.0));
  }

 private:
  Activation activation_;
  double u_out_;
  double normal_;
  bool relu_drops_nan_;
  double u_f_;
};

}  // namespace pareto
