// Which elements of Y are compared.
#include <algorithm>
#include <set>

#include "reference/distributions.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

constexpr double kAllBelowMacs = 2e9;
constexpr std::int64_t kSampled = 4096;
constexpr std::int64_t kSampledRows = 256;

// First and last index, and both sides of the first and last border of tiles in use.
std::set<std::int64_t> borders(std::int64_t extent) {
  std::set<std::int64_t> result = {0, extent - 1};
  for (const std::int64_t tile : {4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256}) {
    const std::int64_t last = (extent - 1) / tile * tile;
    for (const std::int64_t border : {tile, last}) {
      if (border <= 0 || border >= extent) continue;
      result.insert(border - 1);
      result.insert(border);
    }
  }
  return result;
}

std::vector<std::int64_t> sample(const QgemmProblem& problem, std::uint64_t seed) {
  std::set<std::int64_t> chosen;
  for (const std::int64_t m : borders(problem.M)) {
    for (const std::int64_t n : borders(problem.N)) chosen.insert(m * problem.N + n);
  }
  // Few rows keep the reference's decoded copy of X small; columns are drawn afresh for each.
  const std::uint64_t key = stream_key({"", seed, 0}, "positions");
  // Four times as many elements as wanted, so that drawing without repetition ends soon.
  const std::int64_t rows =
      std::min(problem.M, std::max(kSampledRows, 4 * kSampled / problem.N + 1));
  const auto wanted = std::min(static_cast<std::size_t>(problem.M * problem.N),
                               chosen.size() + static_cast<std::size_t>(kSampled));
  for (std::uint64_t counter = 0; chosen.size() < wanted; ++counter) {
    const std::uint64_t row = counter % static_cast<std::uint64_t>(rows);
    const std::uint64_t m =
        problem.M == rows ? row : random_below(key + 1, row, static_cast<std::uint64_t>(problem.M));
    const std::uint64_t n = random_below(key, counter, static_cast<std::uint64_t>(problem.N));
    chosen.insert(static_cast<std::int64_t>(m) * problem.N + static_cast<std::int64_t>(n));
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace

Positions qgemm_positions(const QgemmProblem& problem, std::uint64_t seed) {
  const double macs = static_cast<double>(problem.M) * static_cast<double>(problem.N) *
                      static_cast<double>(problem.K);
  std::vector<std::int64_t> list;
  if (macs > kAllBelowMacs) {
    list = sample(problem, seed);
  } else {
    list.resize(static_cast<std::size_t>(problem.M * problem.N));
    for (std::size_t i = 0; i < list.size(); ++i) list[i] = static_cast<std::int64_t>(i);
  }
  Positions positions = {list};
  if (problem.integer_operands()) positions.push_back(std::move(list));
  return positions;
}

}  // namespace pareto
