// Which elements of an output matrix are compared with the reference.
#pragma once

#include <cstdint>
#include <vector>

namespace pareto {

/// Flat indices into [M, N], ascending: all of them up to 2·10⁹ multiply-adds, else 4096 drawn from
/// the seed and all intersections of first, last and tile-border rows and columns.
std::vector<std::int64_t> matrix_positions(std::int64_t M, std::int64_t N, double multiply_adds,
                                           std::uint64_t seed);

}  // namespace pareto
