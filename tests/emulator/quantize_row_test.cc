// The warp that quantizes a row of x, as qgemm/cuda_naive and the cuBLASLt baselines use it.
#include "kernels/qgemm/quantize_row.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "reference/quantize.h"
#include "tests/emulator/grid.h"

namespace pareto::emulator {
namespace {

TEST(QuantizeRow, GivesTheReferencesCodes) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  constexpr std::int64_t kRows = 3;
  for (const std::int64_t K : {1, 31, 32, 33, 200}) {
    std::vector<float> x(static_cast<std::size_t>(kRows * K));
    for (float& each : x) each = normal(random);
    std::fill_n(x.begin() + K, K, 0.0F);  // a row without an amax
    const GuardedFloats guarded(x);
    std::vector<std::int8_t> codes(x.size(), 77);
    std::vector<float> scales(kRows, -1);
    run_grid(kRows * 32, 5, [&](Lane& lane, std::int64_t index) {
      cuda::quantize_row<cuda::CodesS8>(lane, index, kRows, K, guarded.data(), codes.data(),
                                        scales.data());
    });
    for (std::int64_t row = 0; row < kRows; ++row) {
      std::vector<std::int8_t> want(static_cast<std::size_t>(K));
      const std::span<const float> in(x.data() + row * K, static_cast<std::size_t>(K));
      EXPECT_EQ(scales[static_cast<std::size_t>(row)], quantize_row_s8(in, want.data()));
      EXPECT_EQ(std::vector<std::int8_t>(codes.begin() + row * K, codes.begin() + (row + 1) * K),
                want);
    }
  }
}

// Half of the values lie on ties of the quotient or next to them.
TEST(QuantizeRow, ABlockGivesTheReferencesCodes) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const std::int64_t K : {0, 4, 128, 1028, 2100}) {
    for (const float amax : {127.0F, 3.3F, 1e-38F, 1e-43F, 1e-45F, 3e38F}) {
      std::vector<float> x(static_cast<std::size_t>(K));
      for (std::size_t i = 0; i < x.size(); ++i) {
        const float tie = (static_cast<float>(i % 254) - 126.5F) * (amax / 127);
        x[i] = i % 4 == 0   ? tie
               : i % 4 == 1 ? std::nextafter(tie, 0.0F)
                            : std::clamp(normal(random) * amax / 3, -amax, amax);
      }
      if (K > 0) x[x.size() / 2] = -amax;
      std::vector<std::int8_t> codes(x.size(), 77);
      float scale = -1;
      Block block(cuda::kQuantizeThreads, cuda::kQuantizeSharedBytes, 7);
      block.run([&](Lane& lane) {
        cuda::quantize_row_by_block<cuda::CodesS8>(lane, x.data(), K, codes.data(), &scale);
      });
      std::vector<std::int8_t> want(x.size());
      EXPECT_EQ(scale, quantize_row_s8(x, want.data())) << K << ", " << amax;
      EXPECT_EQ(codes, want) << K << ", " << amax;
    }
  }
}

TEST(QuantizeRow, GroupsGiveTheReferencesCodesWithTheirScalesByGroup) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  constexpr std::int64_t kRows = 3;
  constexpr std::int64_t kGroup = 128;
  for (const std::int64_t K : {1, 127, 128, 300}) {
    const std::int64_t groups = (K + kGroup - 1) / kGroup;
    std::vector<float> x(static_cast<std::size_t>(kRows * K));
    for (float& each : x) each = normal(random);
    const GuardedFloats guarded(x);
    std::vector<std::int8_t> codes(x.size(), 77);
    std::vector<float> scales(static_cast<std::size_t>(groups * kRows), -1);
    run_grid(kRows * groups * 32, 6, [&](Lane& lane, std::int64_t index) {
      cuda::quantize_row_group<cuda::CodesS8>(lane, index, kRows, K, kGroup, guarded.data(),
                                              codes.data(), scales.data());
    });
    for (std::int64_t row = 0; row < kRows; ++row) {
      std::vector<std::int8_t> want(static_cast<std::size_t>(K));
      std::vector<float> want_scales(static_cast<std::size_t>(groups));
      quantize_row_s8_groups({x.data() + row * K, static_cast<std::size_t>(K)}, kGroup, want.data(),
                             want_scales.data());
      EXPECT_EQ(std::vector<std::int8_t>(codes.begin() + row * K, codes.begin() + (row + 1) * K),
                want);
      for (std::int64_t g = 0; g < groups; ++g) {
        EXPECT_EQ(scales[static_cast<std::size_t>(g * kRows + row)],
                  want_scales[static_cast<std::size_t>(g)]);
      }
    }
  }
}

}  // namespace
}  // namespace pareto::emulator
