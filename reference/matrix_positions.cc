#include "reference/matrix_positions.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "reference/distributions.h"

namespace pareto {
namespace {

constexpr double kAllBelowMultiplyAdds = 2e9;
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

std::vector<std::int64_t> sample(std::int64_t M, std::int64_t N, std::uint64_t seed) {
  std::set<std::int64_t> chosen;
  for (const std::int64_t m : borders(M)) {
    for (const std::int64_t n : borders(N)) chosen.insert(m * N + n);
  }
  // Few rows keep the reference's decoded copy of X small; columns are drawn afresh for each.
  const std::uint64_t key = stream_key({"", seed, 0}, "positions");
  // Four times as many elements as wanted, so that drawing without repetition ends soon.
  const std::int64_t rows = std::min(M, std::max(kSampledRows, 4 * kSampled / N + 1));
  const auto wanted =
      std::min(static_cast<std::size_t>(M * N), chosen.size() + static_cast<std::size_t>(kSampled));
  for (std::uint64_t counter = 0; chosen.size() < wanted; ++counter) {
    const std::uint64_t row = counter % static_cast<std::uint64_t>(rows);
    const std::uint64_t m =
        M == rows ? row : random_below(key + 1, row, static_cast<std::uint64_t>(M));
    const std::uint64_t n = random_below(key, counter, static_cast<std::uint64_t>(N));
    chosen.insert(static_cast<std::int64_t>(m) * N + static_cast<std::int64_t>(n));
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace

std::vector<std::int64_t> matrix_positions(std::int64_t M, std::int64_t N, double multiply_adds,
                                           std::uint64_t seed) {
  if (multiply_adds > kAllBelowMultiplyAdds) return sample(M, N, seed);
  std::vector<std::int64_t> all(static_cast<std::size_t>(M * N));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return all;
}

}  // namespace pareto
