// The loop of sparse/cuda_naive, one emulated thread after the other.
#include "kernels/sparse/csr_element.cuh"

#include <gtest/gtest.h>

#include "tests/emulator/grid.h"

namespace pareto::emulator {
namespace {

// Small integers in a dense W, of which every third stays and row 1 is empty: sums are exact.
struct Layer {
  std::int64_t M;
  std::int64_t N;
  std::int64_t K;
  std::vector<float> x;
  std::vector<float> dense;
  std::vector<float> values;
  std::vector<std::int32_t> column;
  std::vector<std::int64_t> offset{0};

  Layer(std::int64_t rows, std::int64_t out, std::int64_t in) : M(rows), N(out), K(in) {
    for (std::int64_t i = 0; i < M * K; ++i) x.push_back(static_cast<float>((i * 29 + 3) % 13 - 6));
    for (std::int64_t n = 0; n < N; ++n) {
      for (std::int64_t k = 0; k < K; ++k) {
        const bool stays = n != 1 && (n * 7 + k * 5) % 3 == 0;
        dense.push_back(stays ? static_cast<float>((n * 17 + k * 41) % 15 + 1) : 0);
        if (!stays) continue;
        values.push_back(dense.back());
        column.push_back(static_cast<std::int32_t>(k));
      }
      offset.push_back(static_cast<std::int64_t>(values.size()));
    }
  }
  [[nodiscard]] std::vector<float> reference() const {
    std::vector<float> y;
    for (std::int64_t m = 0; m < M; ++m) {
      for (std::int64_t n = 0; n < N; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < K; ++k) {
          sum += double{x[static_cast<std::size_t>(m * K + k)]} *
                 dense[static_cast<std::size_t>(n * K + k)];
        }
        y.push_back(static_cast<float>(sum));
      }
    }
    return y;
  }
};

TEST(CsrElement, GivesTheReferencesBits) {
  const std::int64_t shapes[][3] = {{1, 1, 1}, {1, 70, 33}, {5, 3, 64}, {7, 31, 100}, {2, 4, 0}};
  for (const auto& [M, N, K] : shapes) {
    const Layer layer(M, N, K);
    const GuardedFloats x(layer.x);
    const GuardedFloats values(layer.values);
    const cuda::CsrOperands<float> operands{
        N, K, x.data(), values.data(), layer.column.data(), layer.offset.data()};
    const std::int64_t elements = M * N;
    std::vector<float> y(static_cast<std::size_t>(elements), -12345);
    run_grid(elements, 1, [&](Lane& /*lane*/, std::int64_t index) {
      if (index >= elements) return;
      y[static_cast<std::size_t>(index)] = cuda::csr_element(index, operands);
    });
    EXPECT_EQ(y, layer.reference()) << M << " " << N << " " << K;
  }
}

}  // namespace
}  // namespace pareto::emulator
