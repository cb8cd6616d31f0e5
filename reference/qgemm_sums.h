// The sums over K behind one element of qgemm's reference, for four rows of x at a time: the four
// share no arithmetic, they only keep the processor busy while one sum waits for itself.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/tensor.h"
#include "reference/qgemm.h"

namespace pareto {

inline constexpr std::int64_t kPanelRows = 4;
/// One element of each of the four rows.
using FourDoubles = double __attribute__((vector_size(32)));

/// One decoded row of w. Offsets of q4_k make |b| and b² larger than those of the difference: the
/// formula d·sc·q − dmin·mn may be summed as two products.
struct QgemmWRow {
  std::vector<double> value;
  std::vector<double> magnitude;  ///< |d·sc·q| + dmin·mn
  std::vector<double> square;     ///< (d·sc·q)² + (dmin·mn)²
  bool faint = false;             ///< holds values below kFaint
  double alike = 0;               ///< equal_pairs
  // Schemes with integer products only: value = code·scale − offset.
  std::vector<double> codes;
  std::vector<float> scales;
  std::vector<float> offsets;
};

/// Four decoded rows of x, interleaved.
struct QgemmXPanel {
  std::vector<FourDoubles> value;
  bool faint = false;
  std::array<double, kPanelRows> alike{};  ///< equal_pairs
  // Schemes with integer products only: value = (code − zero)·scale.
  std::vector<FourDoubles> codes;
  std::array<std::vector<float>, kPanelRows> scales;
  std::array<std::int32_t, kPanelRows> zero{};
};

/// What QgemmTerm names, for one element.
struct QgemmSums {
  double z = 0;
  double abs = 0;
  double squares = 0;
  double prefix = 0;
  double flushed = 0;
  double faint = 0;
  double alike = 0;
  double group_abs = 0;
  double group_squares = 0;
  double group_prefix = 0;
  double group_alike = 0;
};

/// Row n of w. `row` may be used again for the next.
void decode_w(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
              QgemmWRow& row);

/// Up to four rows of x, at the indices `rows`; missing ones stay zero.
QgemmXPanel decode_x(const QgemmProblem& problem, std::span<const Tensor> in,
                     std::span<const std::int64_t> rows, float tensor_scale);

/// Sums of all four rows against one row of w; with `values_only` z alone.
std::array<QgemmSums, kPanelRows> qgemm_sums(const QgemmProblem& problem, const QgemmXPanel& x,
                                             const QgemmWRow& w, bool values_only);

}  // namespace pareto
