// Loop of qgemm/cuda_stream and of qgemm/cuda_w4a16 with few rows of x, thread by thread.
#include "kernels/qgemm/stream_tile.cuh"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <span>
#include <vector>

#include "tests/emulator/block.h"

namespace pareto::emulator {
namespace {

using cuda::DenseWeights;
using cuda::StreamProblem;
using cuda::StreamTile;
using cuda::W4Weights;

std::uint16_t bf16_bits(int value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16U);
}

// bf16, as the device's lane does it; global memory is checked.
struct StreamLane : Lane {
  StreamLane(const Lane& lane, const std::vector<std::span<const std::uint16_t>>& memory)
      : Lane(lane), readable(memory) {}

  template <std::size_t kWords>
  void load_once(std::uint32_t (&to)[kWords], const void* from, bool valid) const {
    std::memset(to, 0, sizeof(to));
    if (!valid) return;
    const auto* first = static_cast<const std::uint16_t*>(from);
    bool inside = false;
    for (const auto& each : readable) {
      inside |= first >= each.data() && first + 2 * kWords <= each.data() + each.size() &&
                (first - each.data()) % (2 * kWords) == 0;
    }
    if (!inside) throw Fault("a load outside of the operands or not aligned");
    std::memcpy(to, from, sizeof(to));
  }
  void load_shared_out(std::uint32_t (&to)[4], const void* from, bool valid) const {
    load_once(to, from, valid);
  }
  [[nodiscard]] std::uint32_t decode_pairs(std::uint32_t word) const {
    const auto code = [&](unsigned shift) -> std::uint32_t {
      return bf16_bits(static_cast<int>(word >> shift & 15U) - 8);
    };
    return code(0) | code(16) << 16U;
  }
  void multiply_pairs(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                      std::uint32_t b1) {
    multiply(sum, a, b0, b1);
  }
  [[nodiscard]] float float_of_half(std::uint16_t bits) const {
    return bits == 0 ? 0 : bits == 0x3c00 ? 1 : 2;
  }

  const std::vector<std::span<const std::uint16_t>>& readable;
};

// Small integers and scales of 1 and 2: every partial sum is exact, in whatever order.
int x_value(std::int64_t m, std::int64_t k) { return static_cast<int>((m * 7 + k * 5) % 13) - 6; }
int code_value(std::int64_t row, std::int64_t k) {
  return static_cast<int>((row * 5 + k * 3 + k / 16) % 16) - 8;
}
int scale_value(std::int64_t row, std::int64_t group) {
  return 1 + static_cast<int>((row + group) % 2);
}

// `group` of 0: no scales, 16-bit weights.
std::vector<float> reference(std::int64_t M, std::int64_t N, std::int64_t K, std::int64_t group) {
  std::vector<float> y;
  for (std::int64_t m = 0; m < M; ++m) {
    for (std::int64_t n = 0; n < N; ++n) {
      int sum = 0;
      for (std::int64_t k = 0; k < K; ++k) {
        sum += x_value(m, k) * code_value(n, k) * (group == 0 ? 1 : scale_value(n, k / group));
      }
      y.push_back(static_cast<float>(sum));
    }
  }
  return y;
}

struct Operands {
  std::vector<std::uint16_t> x;
  std::vector<std::uint16_t> w;
  std::vector<std::uint16_t> scales;

  Operands(std::int64_t M, std::int64_t N, std::int64_t K, int group) {
    for (std::int64_t i = 0; i < M * K; ++i) x.push_back(bf16_bits(x_value(i / K, i % K)));
    if (group == 0) {
      for (std::int64_t i = 0; i < N * K; ++i) w.push_back(bf16_bits(code_value(i / K, i % K)));
      return;
    }
    for (std::int64_t row = 0; row < N; row += cuda::kW4Rows) {
      for (std::int64_t k = 0; k == 0 || k < K; k += cuda::kW4K) pack(row, k, N, K, group);
    }
  }
  void pack(std::int64_t row, std::int64_t k, std::int64_t N, std::int64_t K, int group) {
    for (int word = 0; word < cuda::kW4UnitWords; ++word) {
      std::uint32_t bits = 0;
      for (int c = 0; c < 8; ++c) {
        const cuda::W4Place at = cuda::w4_place(word, c);
        const bool there = row + at.row < N && k + at.k < K;
        const int code = there ? code_value(row + at.row, k + at.k) + 8 : 8;
        bits |= static_cast<std::uint32_t>(code) << static_cast<unsigned>(4 * c);
      }
      w.push_back(static_cast<std::uint16_t>(bits));
      w.push_back(static_cast<std::uint16_t>(bits >> 16U));
    }
    for (int i = 0; i < cuda::w4_unit_scales(group); ++i) {
      const cuda::W4ScalePlace at = cuda::w4_scale_place(i, group);
      const bool there = row + at.row < N && k + at.group * group < K;
      const int value = scale_value(row + at.row, k / group + at.group);
      scales.push_back(!there ? 0 : value == 1 ? 0x3c00 : 0x4000);
    }
  }
};

template <class T>
std::vector<float> run(std::int64_t M, std::int64_t N, std::int64_t K, int group) {
  const Operands o(M, N, K, group);
  const StreamProblem p{M, N, K, o.x.data(), o.w.data(), o.scales.data()};
  const std::vector<std::span<const std::uint16_t>> memory{o.x, o.w, o.scales};
  std::vector<float> y(static_cast<std::size_t>(M * N), -1000);
  std::uint64_t seed = 1;
  for (std::int64_t row = 0; row < N; row += T::kRows) {
    for (std::int64_t m = 0; m < M; m += T::kM) {
      Block block(T::kThreads, T::kSharedBytes, seed++);
      block.run([&](Lane& plain) {
        StreamLane lane(plain, memory);
        cuda::stream_tile<T>(lane, p, row, m, [&](std::int64_t i, std::int64_t n, float sum) {
          float& to = y[static_cast<std::size_t>(i * N + n)];
          EXPECT_EQ(to, -1000) << "stored twice";
          to = sum;
        });
      });
    }
  }
  return y;
}

template <class T>
void expect_reference(std::int64_t M, std::int64_t N, std::int64_t K, int group) {
  EXPECT_EQ(run<T>(M, N, K, group), reference(M, N, K, group)) << M << "x" << N << "x" << K;
}

TEST(StreamTile, DenseWeightsGiveTheReferencesBits) {
  expect_reference<StreamTile<DenseWeights, 1, 1, 4, 2>>(1, 1, 8, 0);
  expect_reference<StreamTile<DenseWeights, 1, 1, 4, 2>>(3, 37, 1096, 0);
  expect_reference<StreamTile<DenseWeights, 2, 1, 2, 2>>(8, 70, 2568, 0);
  expect_reference<StreamTile<DenseWeights, 1, 2, 3, 2>>(17, 18, 520, 0);
  expect_reference<StreamTile<DenseWeights, 2, 4, 2, 1>>(37, 33, 64, 0);
}

TEST(StreamTile, PackedCodesGiveTheReferencesBits) {
  expect_reference<StreamTile<W4Weights<128>, 2, 1, 3, 2>>(1, 1, 8, 128);
  expect_reference<StreamTile<W4Weights<128>, 2, 1, 3, 2>>(5, 135, 1160, 128);
  expect_reference<StreamTile<W4Weights<128>, 4, 2, 2, 1>>(17, 70, 264, 128);
  expect_reference<StreamTile<W4Weights<128>, 2, 4, 2, 1>>(33, 33, 2184, 128);
  expect_reference<StreamTile<W4Weights<32>, 2, 1, 3, 1>>(1, 1, 8, 32);
  expect_reference<StreamTile<W4Weights<32>, 4, 1, 2, 1>>(5, 135, 1160, 32);
  expect_reference<StreamTile<W4Weights<32>, 2, 2, 2, 1>>(16, 34, 328, 32);
}

TEST(StreamTile, AnEmptySumIsZero) {
  expect_reference<StreamTile<DenseWeights, 1, 1, 4, 2>>(2, 3, 0, 0);
  expect_reference<StreamTile<W4Weights<128>, 2, 1, 3, 2>>(2, 3, 0, 128);
}

TEST(StreamTile, SumsOfALaneGroupReachAllBanks) {
  using T = StreamTile<DenseWeights, 2, 1, 2, 2>;
  std::uint32_t banks = 0;
  for (int lane = 0; lane < 32; ++lane) {
    const cuda::Element e = cuda::mma_d32(lane, 0);
    banks |= 1U << cuda::stream_sum_offset<T>(0, e.column, e.row) / 4 % 32;
  }
  EXPECT_EQ(banks, 0xffffffffU);
}

}  // namespace
}  // namespace pareto::emulator
