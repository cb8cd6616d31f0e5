// The tile loops of sparse/cuda_2to4, thread by thread, on W packed as the variant packs it.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "kernels/sparse/two_to_four_pack.h"
#include "kernels/sparse/two_to_four_rows.cuh"
#include "kernels/sparse/two_to_four_tile.cuh"
#include "tests/emulator/block.h"

namespace pareto::emulator {
namespace {

using cuda::TwoToFourProblem;
using cuda::TwoToFourRows;
using cuda::TwoToFourTile;
using cuda::TwoToFourUnit;
using cuda::WindowOrder;

constexpr std::uint16_t kNan = 0x7fc0;

std::uint16_t bf16_bits(int value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16U);
}
float float_of(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

// Two values and their places in a group of 4, idx0 | idx1 << 2.
struct TwoOfFour {
  std::uint32_t values = 0;
  unsigned places = 0;
};

// Small whole numbers: every partial sum is exact, in whatever order.
class Product {
 public:
  Product(std::int64_t M, std::int64_t N, std::int64_t K) : M_(M), N_(N), K_(K) {
    std::mt19937_64 random(static_cast<std::uint64_t>(M * 31 + N * 7 + K));
    const auto draw = [&](int below) {
      return static_cast<int>(random() % static_cast<unsigned>(below));
    };
    // Whoever reads beyond x gives NaN.
    x_.assign(kGuard, kNan);
    for (std::int64_t i = 0; i < M * K; ++i) x_.push_back(bf16_bits(draw(17) - 8));
    x_.resize(x_.size() + kGuard, kNan);
    const std::array<std::array<int, 2>, 6> places = {
        {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}};
    for (std::int64_t i = 0; i < N * groups(); ++i) {
      const auto& at = places[static_cast<std::size_t>(draw(6))];
      // Places behind the last column hold nothing.
      const auto value = [&](int place) {
        return 4 * (i % groups()) + place < K_ ? bf16_bits(draw(9) - 4) : std::uint16_t{0};
      };
      w_.push_back({value(at[0]) | static_cast<std::uint32_t>(value(at[1])) << 16U,
                    cuda::metadata_nibble(at[0], at[1])});
    }
  }

  [[nodiscard]] std::vector<float> reference() const {
    std::vector<float> y;
    for (std::int64_t m = 0; m < M_; ++m) {
      for (std::int64_t n = 0; n < N_; ++n) {
        float sum = 0;
        for (std::int64_t g = 0; g < groups(); ++g) {
          const TwoOfFour& pair = w_[static_cast<std::size_t>(n * groups() + g)];
          sum += product(m, 4 * g + (pair.places & 3U), pair.values & 0xffffU);
          sum += product(m, 4 * g + (pair.places >> 2U), pair.values >> 16U);
        }
        y.push_back(sum);
      }
    }
    return y;
  }

  template <typename Tile>
  [[nodiscard]] std::vector<float> run_few(std::uint64_t seed) const {
    return run<Tile, Lane>(
        seed, WindowOrder::kInPairs, cuda::sum_bytes<Tile>(),
        [](Lane& lane, const TwoToFourProblem& p, std::int64_t row, std::int64_t token,
           const auto& store) { cuda::two_to_four_rows<Tile>(lane, p, row / 16, token, store); });
  }
  template <typename Tile, typename LaneType = Lane>
  [[nodiscard]] std::vector<float> run_many(std::uint64_t seed) const {
    return run<Tile, LaneType>(
        seed, WindowOrder::kInOrder, Tile::kSharedBytes,
        [](LaneType& lane, const TwoToFourProblem& p, std::int64_t row, std::int64_t token,
           const auto& store) { cuda::two_to_four_tile<Tile>(lane, p, row, token, store); });
  }

 private:
  static constexpr std::int64_t kGuard = 64;

  [[nodiscard]] std::int64_t groups() const { return (K_ + 3) / 4; }
  [[nodiscard]] float product(std::int64_t m, std::int64_t k, std::uint32_t bits) const {
    if (k >= K_) return 0;
    return float_of(x_[static_cast<std::size_t>(kGuard + m * K_ + k)]) *
           float_of(static_cast<std::uint16_t>(bits));
  }

  [[nodiscard]] std::vector<std::uint32_t> pack(WindowOrder order) const {
    const std::int64_t bytes = (groups() + 1) / 2;
    std::vector<std::uint16_t> values;
    std::vector<std::uint8_t> meta(static_cast<std::size_t>(N_ * bytes), 0x44);
    for (std::int64_t n = 0; n < N_; ++n) {
      for (std::int64_t g = 0; g < groups(); ++g) {
        const TwoOfFour& pair = w_[static_cast<std::size_t>(n * groups() + g)];
        values.push_back(static_cast<std::uint16_t>(pair.values));
        values.push_back(static_cast<std::uint16_t>(pair.values >> 16U));
        std::uint8_t& byte = meta[static_cast<std::size_t>(n * bytes + g / 2)];
        byte = static_cast<std::uint8_t>(g % 2 == 0 ? (byte & 0xf0U) | pair.places
                                                    : (byte & 0x0fU) | pair.places << 4U);
      }
    }
    ThreadPool pool(2);
    return cuda::pack_two_to_four(order, {N_, K_, values.data(), meta.data()}, pool);
  }

  // Every block of the grid, each with a schedule of its own. Elements written twice are wrong.
  template <typename Tile, typename LaneType, typename Thread>
  [[nodiscard]] std::vector<float> run(std::uint64_t seed, WindowOrder order, int shared_bytes,
                                       const Thread& thread) const {
    const std::vector<std::uint32_t> packed = pack(order);
    // 16-byte aligned, as the device's memory.
    std::vector<cuda::TokenChunk> words(packed.size() / 4);
    for (std::size_t i = 0; i < packed.size(); ++i) words[i / 4].pair[i % 4] = packed[i];
    const TwoToFourProblem problem{
        M_, N_, K_, (K_ + 63) / 64, x_.data() + kGuard, words.empty() ? nullptr : words[0].pair};
    constexpr float kUnwritten = -12345;
    std::vector<float> y(static_cast<std::size_t>(M_ * N_), kUnwritten);
    for (std::int64_t row = 0; row < N_; row += Tile::kRows) {
      for (std::int64_t token = 0; token < M_; token += Tile::kTokens) {
        Block block(Tile::kThreads, static_cast<std::size_t>(shared_bytes), seed++);
        block.allow({reinterpret_cast<const std::uint16_t*>(words.data()), 8 * words.size()});
        block.allow({x_.data() + kGuard, static_cast<std::size_t>(M_ * K_)});
        block.run([&](Lane& plain) {
          LaneType lane(plain);
          thread(lane, problem, row, token, [&](std::int64_t m, std::int64_t n, float sum) {
            float& element = y[static_cast<std::size_t>(m * N_ + n)];
            EXPECT_EQ(element, kUnwritten);
            element = sum;
          });
        });
      }
    }
    return y;
  }

  std::int64_t M_;
  std::int64_t N_;
  std::int64_t K_;
  std::vector<std::uint16_t> x_;
  std::vector<TwoOfFour> w_;
};

class TwoToFourShapes : public testing::TestWithParam<std::array<std::int64_t, 3>> {};

TEST_P(TwoToFourShapes, GivesTheReferencesBits) {
  const auto [M, N, K] = GetParam();
  const Product product(M, N, K);
  const std::vector<float> want = product.reference();
  EXPECT_EQ((product.run_few<TwoToFourRows<1, 3>>(7)), want);
  EXPECT_EQ((product.run_few<TwoToFourRows<4, 2>>(8)), want);
  EXPECT_EQ(product.run_many<TwoToFourTile<64>>(9), want);
  EXPECT_EQ(product.run_many<TwoToFourTile<32>>(10), want);
}

// Whole groups of 4 and chunks of 8, and not; fewer and more units than warps and stages; more rows
// and tokens than a tile.
INSTANTIATE_TEST_SUITE_P(Edges, TwoToFourShapes,
                         testing::Values(std::array<std::int64_t, 3>{1, 1, 1},
                                         std::array<std::int64_t, 3>{1, 17, 64},
                                         std::array<std::int64_t, 3>{9, 33, 66},
                                         std::array<std::int64_t, 3>{5, 130, 8},
                                         std::array<std::int64_t, 3>{3, 16, 1030},
                                         std::array<std::int64_t, 3>{130, 140, 200},
                                         std::array<std::int64_t, 3>{2, 32, 2000},
                                         std::array<std::int64_t, 3>{3, 5, 0}));

TEST(TwoToFour, WorksUnderManySchedules) {
  const Product product(5, 24, 520);
  const std::vector<float> want = product.reference();
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    EXPECT_EQ((product.run_few<TwoToFourRows<1, 3>>(seed)), want) << seed;
    EXPECT_EQ(product.run_many<TwoToFourTile<64>>(seed), want) << seed;
  }
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

TEST(TwoToFour, FaultsAreSeen) {
  const Product product(8, 8, 640);
  EXPECT_THROW((static_cast<void>(product.run_many<TwoToFourTile<64>, WithoutBarriers>(1))), Fault);
  EXPECT_THROW((static_cast<void>(product.run_many<TwoToFourTile<64>, WithoutWaiting>(1))), Fault);
}

// Every group of 4 columns has one place, in either order; in pairs, lanes with members 0 and 1
// need the first half of the columns and the others the rest.
TEST(TwoToFourUnits, GroupsAreDealtOutOnce) {
  for (const WindowOrder order : {WindowOrder::kInOrder, WindowOrder::kInPairs}) {
    std::set<int> groups;
    for (int step = 0; step < TwoToFourUnit::kSteps; ++step) {
      for (int window = 0; window < TwoToFourUnit::kStepWindows; ++window) {
        const int group = cuda::two_to_four_group(order, step, window);
        groups.insert(group);
        if (order == WindowOrder::kInPairs) {
          EXPECT_EQ(group / 8, window % 2);
        }
      }
    }
    EXPECT_EQ(groups.size(), 16U);
    EXPECT_EQ(*groups.begin(), 0);
    EXPECT_EQ(*groups.rbegin(), 15);
  }
}

}  // namespace
}  // namespace pareto::emulator
