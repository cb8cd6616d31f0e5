// Which elements of Y are compared.
#include "reference/matrix_positions.h"
#include "reference/qgemm_parts.h"

namespace pareto {

Positions qgemm_positions(const QgemmProblem& problem, std::uint64_t seed) {
  const double multiply_adds = static_cast<double>(problem.M) * static_cast<double>(problem.N) *
                               static_cast<double>(problem.K);
  Positions positions = {matrix_positions(problem.M, problem.N, multiply_adds, seed)};
  if (problem.integer_operands()) positions.push_back(positions.front());
  return positions;
}

}  // namespace pareto
