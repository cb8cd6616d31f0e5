// Student's t distribution and the interval of a mean that rests on it.
#pragma once

#include <span>

namespace pareto {

/// I_x(a, b), the regularized incomplete beta function, by its continued fraction (modified Lentz);
/// relative error about 1e-13. 0 ≤ x ≤ 1, a, b > 0.
double incomplete_beta(double a, double b, double x);

/// P(T ≤ t) with `dof` > 0 degrees of freedom.
double student_t_cdf(double t, double dof);

/// t with P(T ≤ t) = p, 0 < p < 1.
double student_t_quantile(double p, double dof);

struct MeanInterval {
  double mean;
  double half_width;  ///< NaN for fewer than 2 values
};

/// Two-sided t interval of the mean; the standard error is multiplied by `inflation`.
MeanInterval mean_interval(std::span<const double> values, double confidence, double inflation = 1);

}  // namespace pareto
