#include "reference/distributions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "harness/errors.h"
#include "harness/experiment.h"

namespace pareto {
namespace {

std::vector<float> filled(std::string_view distribution, std::size_t count,
                          std::uint64_t seed = 1) {
  std::vector<float> values(count);
  fill_distribution(distribution, stream_key({"", seed, 0}, "x"), values);
  return values;
}

double mean_power(const std::vector<float>& values, int power) {
  double sum = 0;
  for (const float value : values) sum += std::pow(value, power);
  return sum / static_cast<double>(values.size());
}

constexpr std::size_t kCount = 1 << 20;

TEST(Distributions, NormalHasTheMomentsOfANormal) {
  const std::vector<float> values = filled("normal", kCount);
  // Standard errors of the moments of n draws: √(1/n), √(2/n), √(15/n), √(96/n); five of them each.
  const double error = 5 / std::sqrt(static_cast<double>(kCount));
  EXPECT_NEAR(mean_power(values, 1), 0, error);
  EXPECT_NEAR(mean_power(values, 2), 1, std::sqrt(2.0) * error);
  EXPECT_NEAR(mean_power(values, 3), 0, std::sqrt(15.0) * error);
  EXPECT_NEAR(mean_power(values, 4), 3, std::sqrt(96.0) * error);
  // Beyond 4 lie 6.33e-5 of a normal: 66 of 2^20, give or take 5·√66.
  const auto far =
      std::count_if(values.begin(), values.end(), [](float v) { return std::abs(v) > 4; });
  EXPECT_NEAR(static_cast<double>(far), 66, 41);
}

TEST(Distributions, NeighboursAreIndependent) {
  const std::vector<float> values = filled("normal", kCount);
  for (const std::size_t lag : {1U, 2U, 3U, 64U}) {
    double sum = 0;
    for (std::size_t i = lag; i < kCount; ++i) sum += double{values[i]} * values[i - lag];
    EXPECT_NEAR(sum / kCount, 0, 5 / std::sqrt(static_cast<double>(kCount))) << lag;
  }
}

TEST(Distributions, UniformFillsItsInterval) {
  const std::vector<float> values = filled("uniform", kCount);
  EXPECT_GE(*std::min_element(values.begin(), values.end()), -1.0F);
  EXPECT_LT(*std::max_element(values.begin(), values.end()), 1.0F);
  EXPECT_NEAR(mean_power(values, 1), 0, 5 * std::sqrt(1.0 / 3 / kCount));
  EXPECT_NEAR(mean_power(values, 2), 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kCount));
}

TEST(Distributions, IntegersAreAllOfMinusEightToEight) {
  std::vector<int> count(17);
  for (const float value : filled("integer", kCount)) {
    ASSERT_EQ(value, std::rint(value));
    ASSERT_LE(std::abs(value), 8);
    ++count[static_cast<std::size_t>(value + 8)];
  }
  const double expected = kCount / 17.0;
  for (const int n : count) EXPECT_NEAR(n, expected, 5 * std::sqrt(expected));
}

TEST(Distributions, OutliersAreRareAndLarge) {
  const std::vector<float> normal = filled("normal", kCount);
  const std::vector<float> values = filled("outlier", kCount);
  double changed = 0;
  double squares = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    if (normal[i] == values[i]) continue;
    ++changed;
    squares += std::pow(double{values[i]} - normal[i], 2);
  }
  EXPECT_NEAR(changed, 0.001 * kCount, 5 * std::sqrt(0.001 * kCount));
  EXPECT_NEAR(std::sqrt(squares / changed), 100, 5 * 100 / std::sqrt(2 * changed));
}

TEST(Distributions, PositiveIsTheMagnitudeOfNormal) {
  const std::vector<float> normal = filled("normal", 1000);
  const std::vector<float> values = filled("positive", 1000);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], std::abs(normal[i]));
}

TEST(Distributions, ScaledIsUnevenOverRowsAndColumns) {
  constexpr std::int64_t kRows = 400;
  constexpr std::int64_t kColumns = 300;
  std::vector<float> values(kRows * kColumns);
  fill_distribution("scaled", stream_key({"", 1, 0}, "w"), values, kColumns);
  // Nonzeros per row that a threshold at the 90th percentile leaves.
  std::vector<float> sorted(values.size());
  std::transform(values.begin(), values.end(), sorted.begin(), [](float x) { return std::abs(x); });
  std::vector<float> magnitudes = sorted;
  const auto ninety = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() * 9 / 10);
  std::nth_element(sorted.begin(), ninety, sorted.end());
  double mean = 0;
  double squares = 0;
  for (std::int64_t row = 0; row < kRows; ++row) {
    const auto begin = magnitudes.begin() + row * kColumns;
    const auto count = static_cast<double>(
        std::count_if(begin, begin + kColumns, [&](float x) { return x > *ninety; }));
    mean += count / kRows;
    squares += count * count / kRows;
  }
  EXPECT_NEAR(mean, kColumns / 10.0, 1);
  // Of N(0,1) alone, the deviation is √(0.1·0.9·300) = 5.2.
  EXPECT_GT(std::sqrt(squares - mean * mean), 15);
}

TEST(Distributions, AreTheOnesThatExperimentsKnow) {
  const std::span<const std::string> drawn = distribution_words();
  std::vector<std::string> words(drawn.begin(), drawn.end());
  words.emplace_back("file");
  EXPECT_EQ(words, known_distributions());
}

TEST(Distributions, ElementsDoNotDependOnHowManyAreDrawn) {
  // More than a million use several threads; the shorter fills one.
  for (const std::string& word : distribution_words()) {
    const std::vector<float> many = filled(word, 1'500'001);
    const std::vector<float> few = filled(word, 777);
    EXPECT_TRUE(std::equal(few.begin(), few.end(), many.begin())) << word;
  }
}

TEST(Distributions, SeedsContentsAndNamesGiveDifferentStreams) {
  const std::uint64_t base = stream_key({"", 1, 0}, "x");
  EXPECT_NE(base, stream_key({"", 2, 0}, "x"));
  EXPECT_NE(base, stream_key({"", 1, 1}, "x"));
  EXPECT_NE(base, stream_key({"", 1, 0}, "w"));
  EXPECT_EQ(base, stream_key({"normal", 1, 0}, "x"));
}

TEST(Distributions, BitsStayTheSameForever) {
  // Results of other machines and builds are compared by seed: these bits must never change.
  const std::vector<float> values = filled("normal", 4, 42);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(values[0]), 0xbf7883afU);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(values[1]), 0x3e0c28b9U);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(values[2]), 0x3f5eaa96U);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(values[3]), 0xbeedfcfcU);
}

TEST(Distributions, UnknownWordsAreNamed) {
  std::vector<float> values(1);
  try {
    fill_distribution("nornal", 1, values);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find("nornal"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("normal"), std::string::npos);
  }
}

}  // namespace
}  // namespace pareto
