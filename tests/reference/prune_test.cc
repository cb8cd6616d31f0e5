#include "reference/prune.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "harness/errors.h"
#include "reference/distributions.h"
#include "reference/low_rank.h"

namespace pareto {
namespace {

constexpr std::int64_t kSide = 512;

std::vector<float> normal(std::int64_t count) {
  std::vector<float> w(static_cast<std::size_t>(count));
  fill_distribution("normal", stream_key(Draw{}, "w"), w);
  return w;
}

double energy(const std::vector<float>& w) {
  double sum = 0;
  for (const float value : w) sum += static_cast<double>(value) * value;
  return sum;
}

double lost(const std::vector<float>& before, const std::vector<float>& after) {
  std::vector<float> difference(before.size());
  for (std::size_t i = 0; i < before.size(); ++i) difference[i] = before[i] - after[i];
  return energy(difference) / energy(before);
}

std::int64_t zeros(const std::vector<float>& w) { return std::count(w.begin(), w.end(), 0.0F); }

// Golden values of iid N(0,1) with half of the weights gone. The share of the energy in a fixed
// set of weights has a standard deviation of √(2/count) at most (variance of w² is 2); blocks add
// that of the block sums, which is the same: 4·√(2/512²) = 0.011 covers all of them.
constexpr double kGoldenTolerance = 0.011;

TEST(Prune, LosesTheEnergyOfTheGoldenValues) {
  const std::vector<float> w = normal(kSide * kSide);
  std::vector<float> pruned = w;
  prune_magnitude(pruned, 0.5);
  EXPECT_NEAR(lost(w, pruned), 0.0713, kGoldenTolerance);
  pruned = w;
  prune_n_of_m(pruned, kSide, kSide, 4, 8);
  EXPECT_NEAR(lost(w, pruned), 0.1033, kGoldenTolerance);
  pruned = w;
  prune_n_of_m(pruned, kSide, kSide, 2, 4);
  EXPECT_NEAR(lost(w, pruned), 0.1325, kGoldenTolerance);
  const double blocks[][2] = {{4, .362}, {8, .430}, {16, .465}, {32, .482}};
  for (const auto& [block, golden] : blocks) {
    pruned = w;
    prune_blocks(pruned, kSide, kSide, static_cast<std::int64_t>(block), 0.5, false);
    EXPECT_NEAR(lost(w, pruned), golden, kGoldenTolerance) << block;
  }
  pruned = w;
  soft_threshold(pruned, 0.6745, DType::kF32);
  EXPECT_NEAR(lost(w, pruned), 0.2988, kGoldenTolerance);
}

TEST(LowRank, QuarterRankLosesTheEnergyOfTheGoldenValue) {
  constexpr std::int64_t kN = 256;
  const std::vector<float> w = normal(kN * kN);
  const LowRankFactors f = truncated_svd(w, kN, kN, kN / 4);
  double residual = 0;
  for (std::size_t i = kN / 4; i < kN; ++i) residual += f.singular_values[i] * f.singular_values[i];
  // Relative fluctuation of one squared singular value is below √(2/n); finite n shifts by O(1/n).
  EXPECT_NEAR(residual / energy(w), 0.3771, std::sqrt(2.0 / kN / kN) + 1.0 / kN);
}

double product(const LowRankFactors& f, std::int64_t columns, std::int64_t rank, std::int64_t i,
               std::int64_t j) {
  double sum = 0;
  for (std::int64_t r = 0; r < rank; ++r) {
    sum += f.a[static_cast<std::size_t>(i * rank + r)] *
           f.b[static_cast<std::size_t>(r * columns + j)];
  }
  return sum;
}

TEST(LowRank, FullRankGivesTheMatrixBackInBothOrientations) {
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{23, 9}, {9, 23}}) {
    const std::vector<float> w = normal(rows * columns);
    const LowRankFactors f = truncated_svd(w, rows, columns, 9);
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < columns; ++j) {
        // Backward stable: a small multiple of 2^-53 · ‖W‖ ≈ 15 · 1e-16.
        EXPECT_NEAR(product(f, columns, 9, i, j), w[static_cast<std::size_t>(i * columns + j)],
                    1e-13);
      }
    }
    EXPECT_TRUE(std::is_sorted(f.singular_values.rbegin(), f.singular_values.rend()));
    // Singular values are split evenly: both factors carry the root.
    double a = 0;
    double b = 0;
    for (std::int64_t i = 0; i < rows; ++i) a += std::pow(f.a[static_cast<std::size_t>(i * 9)], 2);
    for (std::int64_t j = 0; j < columns; ++j) b += std::pow(f.b[static_cast<std::size_t>(j)], 2);
    EXPECT_NEAR(a, f.singular_values[0], 1e-12);
    EXPECT_NEAR(b, f.singular_values[0], 1e-12);
  }
}

TEST(LowRank, ResidualOfATruncationIsTheDiscardedSingularValues) {
  const std::vector<float> w = normal(20 * 30);
  const LowRankFactors f = truncated_svd(w, 20, 30, 5);
  double residual = 0;
  for (std::int64_t i = 0; i < 20; ++i) {
    for (std::int64_t j = 0; j < 30; ++j) {
      const double e = w[static_cast<std::size_t>(i * 30 + j)] - product(f, 30, 5, i, j);
      residual += e * e;
    }
  }
  double discarded = 0;
  for (std::size_t r = 5; r < 20; ++r) discarded += f.singular_values[r] * f.singular_values[r];
  EXPECT_NEAR(residual, discarded, 1e-12 * discarded + 1e-11);
}

TEST(LowRank, TakesZerosAndRepeatedColumnsButNoInfinities) {
  std::vector<float> w(12, 0.0F);
  const LowRankFactors zero = truncated_svd(w, 3, 4, 2);
  EXPECT_EQ(zero.a, std::vector<double>(6, 0.0));
  std::fill(w.begin(), w.end(), 1.0F);  // rank 1
  const LowRankFactors one = truncated_svd(w, 3, 4, 1);
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_NEAR(product(one, 4, 1, i, 2), 1, 1e-14);
  w[5] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(truncated_svd(w, 3, 4, 1), InputError);
}

TEST(Prune, CountsAreRoundedToEven) {
  EXPECT_EQ(pruned_count(0.5, 5), 2);
  EXPECT_EQ(pruned_count(0.5, 7), 4);
  EXPECT_EQ(pruned_count(0, 7), 0);
  EXPECT_EQ(pruned_count(1, 7), 7);
}

TEST(Prune, OfEqualsTheHigherIndexGoes) {
  std::vector<float> w = {1, -1, 2, 1, -1, 1};
  prune_magnitude(w, 0.5);
  EXPECT_EQ(w, (std::vector<float>{1, -1, 2, 0, 0, 0}));
  std::vector<float> rows = {1, 1, 3, 3, 2, 2};
  prune_magnitude_rows(rows, 2, 3, 1.0 / 3);
  EXPECT_EQ(rows, (std::vector<float>{1, 0, 3, 3, 2, 0}));
  std::vector<float> blocks = {1, 1, -1, 1, 1, 1, 1, -1};  // 2 × 4 in blocks of 2: equal
  prune_blocks(blocks, 2, 4, 2, 0.5, false);
  EXPECT_EQ(blocks, (std::vector<float>{1, 1, 0, 0, 1, 1, 0, 0}));
}

TEST(Prune, TwoOfFourKeepsTheLargestAndOfEqualsTheLowerIndex) {
  std::vector<float> w = {1, 1, 1, 1, 5, -6, 7, -8, 0, 2, 1};
  prune_n_of_m(w, 1, 11, 2, 4);
  EXPECT_EQ(w, (std::vector<float>{1, 1, 0, 0, 0, 0, 7, -8, 0, 2, 1}));
  EXPECT_THROW(prune_n_of_m(w, 1, 11, 5, 4), InputError);
}

TEST(Prune, NanIsLargestOfAll) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> w = {inf, -nan, 3, 4};
  prune_magnitude(w, 0.75);
  EXPECT_TRUE(std::isnan(w[1]));
  EXPECT_EQ(zeros(w), 3);
  std::vector<float> blocks = {inf, inf, -nan, 1};
  prune_blocks(blocks, 1, 4, 2, 0.5, false);
  EXPECT_EQ(blocks[0], 0.0F);
  EXPECT_TRUE(std::isnan(blocks[2]));
}

TEST(Prune, BlocksAtTheEdgesCountAsWholeOnes) {
  std::vector<float> w(5 * 5, 1.0F);
  prune_blocks(w, 5, 5, 4, 0.75, false);  // 3 of 4 blocks go: all but the full one
  EXPECT_EQ(zeros(w), 25 - 16);
  EXPECT_EQ(w[0], 1.0F);
  std::vector<float> per_row(4 * 8, 1.0F);
  per_row[0] = 0.5F;
  prune_blocks(per_row, 4, 8, 2, 0.5, true);
  for (std::int64_t row = 0; row < 4; ++row) {
    EXPECT_EQ(std::count(per_row.begin() + row * 8, per_row.begin() + row * 8 + 8, 0.0F), 4);
  }
  EXPECT_EQ(per_row[0], 0.0F);  // the weakest block of its row
}

TEST(Prune, SoftThresholdRoundsOnceToTheDtype) {
  std::vector<float> w = {1.0F, -2.0F, 0.5F, -0.25F, 0x1.01p0F};
  soft_threshold(w, 0.5, DType::kF32);
  EXPECT_EQ(w, (std::vector<float>{0.5F, -1.5F, 0.0F, 0.0F, 0x1.02p-1F}));
  std::vector<float> tie = {0x1.01p0F};  // halfway between two bf16
  soft_threshold(tie, 0x1p-40, DType::kBf16);
  EXPECT_EQ(tie[0], 1.0F);
}

}  // namespace
}  // namespace pareto
