// The loops of qgemm/cuda_naive, one emulated thread after the other.
#include "kernels/qgemm/element_products.cuh"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace pareto::cuda {
namespace {

// Small integers: sums are exact.
template <typename T>
std::vector<T> integers(std::int64_t count, int salt) {
  std::vector<T> all;
  for (std::int64_t i = 0; i < count; ++i) {
    all.push_back(static_cast<T>((i * 37 + salt * 11 + i / 7) % 15 - 7));
  }
  return all;
}

constexpr ElementSizes kShapes[] = {{1, 1, 1}, {3, 5, 7}, {2, 300, 129}, {17, 33, 0}};

TEST(ElementProducts, FloatsGiveTheReferencesBits) {
  for (const ElementSizes& s : kShapes) {
    const std::vector<float> x = integers<float>(s.M * s.K, 1);
    const std::vector<float> w = integers<float>(s.N * s.K, 2);
    for (std::int64_t thread = 0; thread < s.M * s.N; ++thread) {
      double want = 0;
      for (std::int64_t k = 0; k < s.K; ++k) {
        want += double{x[thread / s.N * s.K + k]} * w[thread % s.N * s.K + k];
      }
      EXPECT_EQ(float_element(s, thread, x.data(), w.data()), static_cast<float>(want));
    }
  }
}

TEST(ElementProducts, IntegersGiveTheReferencesBits) {
  for (const ElementSizes& s : kShapes) {
    const std::vector<std::int8_t> x = integers<std::int8_t>(s.M * s.K, 3);
    const std::vector<std::int8_t> w = integers<std::int8_t>(s.N * s.K, 4);
    for (std::int64_t thread = 0; thread < s.M * s.N; ++thread) {
      std::int32_t want = 0;
      for (std::int64_t k = 0; k < s.K; ++k) {
        want += x[thread / s.N * s.K + k] * w[thread % s.N * s.K + k];
      }
      EXPECT_EQ(integer_element(s, thread, x.data(), w.data()), want);
    }
  }
}

TEST(ElementProducts, NibblesGiveTheReferencesBits) {
  constexpr std::int64_t kGroup = 32;
  for (const ElementSizes& s : kShapes) {
    const std::int64_t groups = ceil_div(s.K, kGroup);
    const std::vector<float> x = integers<float>(s.M * s.K, 5);
    std::vector<float> scale;
    for (std::int64_t i = 0; i < s.N * groups; ++i) scale.push_back(std::ldexp(1.0F, i % 5 - 2));
    const auto code = [](std::int64_t n, std::int64_t k) { return (n * 5 + k * 3) % 16; };
    std::vector<std::uint8_t> w(static_cast<std::size_t>(s.N * ceil_div(s.K, 2)), 0);
    for (std::int64_t n = 0; n < s.N; ++n) {
      for (std::int64_t k = 0; k < s.K; ++k) {
        w[n * ceil_div(s.K, 2) + k / 2] |= static_cast<std::uint8_t>(code(n, k) << (k % 2 * 4));
      }
    }
    for (std::int64_t thread = 0; thread < s.M * s.N; ++thread) {
      const std::int64_t n = thread % s.N;
      double want = 0;
      for (std::int64_t k = 0; k < s.K; ++k) {
        want += double{x[thread / s.N * s.K + k]} * static_cast<double>(code(n, k) - 8) *
                scale[n * groups + k / kGroup];
      }
      EXPECT_EQ(nibble_element(s, kGroup, thread, x.data(), w.data(), scale.data()),
                static_cast<float>(want));
    }
  }
}

}  // namespace
}  // namespace pareto::cuda
