// The tile loop of qgemm/cuda_mma, thread by thread.
#include "kernels/qgemm/mma_tile.cuh"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

#include "tests/emulator/block.h"

namespace pareto::emulator {
namespace {

using cuda::MmaProblem;
using cuda::MmaTile;

std::uint16_t bf16_bits(float value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16U);
}

// Small integers: every partial sum is exact, in whatever order.
std::vector<std::uint16_t> integers(std::int64_t count, int salt) {
  std::vector<std::uint16_t> all(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto drawn = static_cast<int>((i * 2654435761U + static_cast<unsigned>(salt)) >> 7U) % 17;
    all[i] = bf16_bits(static_cast<float>(drawn - 8));
  }
  return all;
}

float float_of(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

struct Product {
  MmaProblem problem;
  std::vector<std::uint16_t> x;
  std::vector<std::uint16_t> w;

  Product(std::int64_t M, std::int64_t N, std::int64_t K)
      : problem{.M = M, .N = N, .K = K}, x(integers(M * K, 1)), w(integers(N * K, 2)) {
    problem.x = x.data();
    problem.w = w.data();
  }

  [[nodiscard]] std::vector<float> reference() const {
    std::vector<float> y;
    for (std::int64_t m = 0; m < problem.M; ++m) {
      for (std::int64_t n = 0; n < problem.N; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < problem.K; ++k) {
          sum += double{float_of(x[static_cast<std::size_t>(m * problem.K + k)])} *
                 float_of(w[static_cast<std::size_t>(n * problem.K + k)]);
        }
        y.push_back(static_cast<float>(sum));
      }
    }
    return y;
  }

  // Every block of the grid, each with a schedule of its own. Elements written twice are wrong.
  template <typename Thread>
  [[nodiscard]] std::vector<float> run(std::uint64_t seed, const Thread& thread) const {
    constexpr float kUnwritten = -12345;
    std::vector<float> y(static_cast<std::size_t>(problem.M * problem.N), kUnwritten);
    for (std::int64_t row = 0; row < problem.M; row += MmaTile::kM) {
      for (std::int64_t column = 0; column < problem.N; column += MmaTile::kN) {
        Block block(MmaTile::kThreads, MmaTile::kSharedBytes, seed++);
        block.allow(x);
        block.allow(w);
        block.run([&](Lane& lane) {
          thread(lane, row, column, [&](std::int64_t r, std::int64_t c, float sum) {
            float& element = y[static_cast<std::size_t>(r * problem.N + c)];
            EXPECT_EQ(element, kUnwritten);
            element = sum;
          });
        });
      }
    }
    return y;
  }
};

template <typename LaneType>
void run_tile(const Product& product, std::uint64_t seed) {
  static_cast<void>(
      product.run(seed, [&](Lane& lane, std::int64_t row, std::int64_t column, const auto& store) {
        LaneType faulty(lane);
        cuda::mma_tile(faulty, product.problem, row, column, store);
      }));
}

class MmaTileShapes : public testing::TestWithParam<std::array<std::int64_t, 3>> {};

TEST_P(MmaTileShapes, GivesTheReferencesBits) {
  const auto [M, N, K] = GetParam();
  const Product product(M, N, K);
  const std::vector<float> got =
      product.run(7, [&](Lane& lane, std::int64_t row, std::int64_t column, const auto& store) {
        cuda::mma_tile(lane, product.problem, row, column, store);
      });
  EXPECT_EQ(got, product.reference());
}

// One, tile − 1, tile, tile + 1; K with whole chunks of 8 and without, shorter and longer than the
// ring.
INSTANTIATE_TEST_SUITE_P(Edges, MmaTileShapes,
                         testing::Values(std::array<std::int64_t, 3>{1, 1, 1},
                                         std::array<std::int64_t, 3>{1, 129, 8},
                                         std::array<std::int64_t, 3>{127, 128, 31},
                                         std::array<std::int64_t, 3>{128, 127, 32},
                                         std::array<std::int64_t, 3>{129, 1, 33},
                                         std::array<std::int64_t, 3>{17, 33, 72},
                                         std::array<std::int64_t, 3>{130, 140, 200},
                                         std::array<std::int64_t, 3>{64, 64, 255}));

TEST(MmaTile, WorksUnderManySchedules) {
  const Product product(40, 24, 136);
  const std::vector<float> want = product.reference();
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const std::vector<float> got = product.run(
        seed, [&](Lane& lane, std::int64_t row, std::int64_t column, const auto& store) {
          cuda::mma_tile(lane, product.problem, row, column, store);
        });
    EXPECT_EQ(got, want) << seed;
  }
}

TEST(MmaTile, AnEmptySumIsZero) {
  const Product product(3, 5, 0);
  EXPECT_EQ(product.run(1,
                        [&](Lane& lane, std::int64_t row, std::int64_t column, const auto& store) {
                          cuda::mma_tile(lane, product.problem, row, column, store);
                        }),
            std::vector<float>(15, 0));
}

// Lanes with a fault each: the emulator must see it, or it proves nothing about the others.
struct WithoutBarriers : Lane {
  explicit WithoutBarriers(const Lane& lane) : Lane(lane) {}
  void barrier() override {}
};
struct WithoutWaiting : Lane {
  explicit WithoutWaiting(const Lane& lane) : Lane(lane) {}
  void wait_until_copied(int pending) override { Lane::wait_until_copied(pending + 1); }
};

TEST(MmaTile, AMissingBarrierIsSeen) {
  EXPECT_THROW(run_tile<WithoutBarriers>(Product(8, 8, 64), 1), Fault);
}

TEST(MmaTile, WaitingForOneGroupTooFewIsSeen) {
  EXPECT_THROW(run_tile<WithoutWaiting>(Product(8, 8, 128), 1), Fault);
}

TEST(MmaTile, ReadingBeyondAnOperandIsSeen) {
  Product product(8, 8, 64);
  product.problem.N = 9;  // w ends after 8 rows
  EXPECT_THROW(run_tile<Lane>(product, 1), Fault);
}

TEST(MmaTile, ChunksOfALoadPhaseLieInDifferentBanks) {
  for (int chunk = 0; chunk < MmaTile::kChunks; ++chunk) {
    for (int first = 0; first < MmaTile::kRows; first += 8) {
      unsigned columns = 0;
      for (int row = first; row < first + 8; ++row) {
        columns |= 1U << (cuda::mma_chunk_offset(row, chunk) / 16 % 8);
      }
      EXPECT_EQ(columns, 0xffU) << first << " " << chunk;
    }
  }
}

}  // namespace
}  // namespace pareto::emulator
