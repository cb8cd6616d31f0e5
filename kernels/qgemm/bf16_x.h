// What kernels decline whose products take x in bf16.
#pragma once

#include <string>

#include "reference/qgemm.h"

namespace pareto {

/// Why such a kernel declines x as it is given; empty if that is bf16, or quantized to codes that
/// bf16 holds.
inline std::string declines_but_bf16_x(const Problem& problem) {
  const QgemmProblem p = QgemmProblem::from(problem);
  if (p.x_kind == XKind::kFloat && p.x_dtype != DType::kBf16) {
    return "dtype " + problem.word("dtype") + ": only bf16";
  }
  return "";
}

}  // namespace pareto
