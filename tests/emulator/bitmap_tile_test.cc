// The tile loop of sparse/cuda_bitmap, thread by thread, on W packed as the variant packs it.
#include "kernels/sparse/bitmap_tile.cuh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/sparse/bitmap_pack.h"
#include "tests/emulator/block.h"

namespace pareto::emulator {
namespace {

using cuda::BitmapPacked;
using cuda::BitmapProblem;
using cuda::BitmapTile;
using cuda::BitmapUnit;

constexpr std::uint16_t kNan = 0x7fc0;

std::uint16_t bf16_bits(int value) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(value)) >> 16U);
}
float float_of(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

struct Shape {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  int percent = 50;  ///< of the weights that are there
};

// Small whole numbers: every partial sum is exact, in whatever order.
class Product {
 public:
  explicit Product(const Shape& shape) : shape_(shape) {
    std::mt19937_64 random(static_cast<std::uint64_t>(shape.M * 31 + shape.N * 7 + shape.K));
    const auto draw = [&](int below) {
      return static_cast<int>(random() % static_cast<unsigned>(below));
    };
    for (std::int64_t i = 0; i < shape.N * shape.K; ++i) {
      const int value = draw(8) + 1;
      w_.push_back(draw(100) < shape.percent ? bf16_bits(value) : std::uint16_t{0});
    }
    // Whoever reads beyond x gives NaN.
    x_.assign(kGuard, kNan);
    for (std::int64_t i = 0; i < shape.M * shape.K; ++i) x_.push_back(bf16_bits(draw(17) - 8));
    x_.resize(x_.size() + kGuard, kNan);
    pack();
  }

  [[nodiscard]] std::vector<float> reference() const {
    std::vector<float> y;
    for (std::int64_t m = 0; m < shape_.M; ++m) {
      for (std::int64_t n = 0; n < shape_.N; ++n) {
        float sum = 0;
        for (std::int64_t k = 0; k < shape_.K; ++k) {
          sum += float_of(x_[static_cast<std::size_t>(kGuard + m * shape_.K + k)]) *
                 float_of(w_[static_cast<std::size_t>(n * shape_.K + k)]);
        }
        y.push_back(sum);
      }
    }
    return y;
  }

  // Every block of the grid, each with a schedule of its own. Elements written twice are wrong.
  template <typename Tile, typename LaneType = Lane>
  [[nodiscard]] std::vector<float> run(std::uint64_t seed) const {
    constexpr float kUnwritten = -12345;
    std::vector<float> y(static_cast<std::size_t>(shape_.M * shape_.N), kUnwritten);
    const BitmapProblem problem{shape_.M,
                                shape_.N,
                                shape_.K,
                                (shape_.K + 63) / 64,
                                x_.data() + kGuard,
                                packed_.words.data(),
                                packed_.offset.data(),
                                packed_.longest_bytes};
    for (std::int64_t row_tile = 0; 16 * row_tile < shape_.N; row_tile += Tile::kRowTiles) {
      for (std::int64_t token = 0; token < shape_.M; token += Tile::kTokens) {
        Block block(Tile::kThreads, Tile::shared_bytes(packed_.longest_bytes), seed++);
        block.allow({reinterpret_cast<const std::uint16_t*>(packed_.words.data()),
                     2 * packed_.words.size()});
        block.run([&](Lane& plain) {
          LaneType lane(plain);
          cuda::bitmap_tile<Tile>(lane, problem, row_tile, token,
                                  [&](std::int64_t m, std::int64_t n, float sum) {
                                    float& element = y[static_cast<std::size_t>(m * shape_.N + n)];
                                    EXPECT_EQ(element, kUnwritten);
                                    element = sum;
                                  });
        });
      }
    }
    return y;
  }

 private:
  static constexpr std::int64_t kGuard = 64;

  void pack() {
    const std::int64_t words = (shape_.K + 63) / 64;
    std::vector<std::uint64_t> masks(static_cast<std::size_t>(shape_.N * words));
    std::vector<std::int64_t> offset = {0};
    std::vector<std::uint16_t> values;
    for (std::int64_t n = 0; n < shape_.N; ++n) {
      for (std::int64_t k = 0; k < shape_.K; ++k) {
        const std::uint16_t code = w_[static_cast<std::size_t>(n * shape_.K + k)];
        if (code == 0) continue;
        masks[static_cast<std::size_t>(n * words + k / 64)] |= std::uint64_t{1} << (k % 64);
        values.push_back(code);
      }
      offset.push_back(static_cast<std::int64_t>(values.size()));
    }
    values.resize(values.size() + cuda::BitmapWeights::kReadBehind, kNan);
    ThreadPool pool(2);
    packed_ = cuda::pack_bitmap({shape_.N, shape_.K, masks.data(), offset.data(), values.data()},
                                (shape_.N + 31) / 32 * 2, pool);
  }

  Shape shape_;
  std::vector<std::uint16_t> x_;
  std::vector<std::uint16_t> w_;
  BitmapPacked packed_;
};

class BitmapTileShapes : public testing::TestWithParam<Shape> {};

TEST_P(BitmapTileShapes, GivesTheReferencesBits) {
  const Product product(GetParam());
  const std::vector<float> want = product.reference();
  EXPECT_EQ(product.run<BitmapTile<1>>(7), want);
  EXPECT_EQ((product.run<BitmapTile<2, 16, 3>>(8)), want);
}

// Rows with whole chunks of 8 and without; fewer and more units than warps and stages; every
// density.
INSTANTIATE_TEST_SUITE_P(Edges, BitmapTileShapes,
                         testing::Values(Shape{1, 1, 1}, Shape{1, 17, 64}, Shape{9, 33, 65},
                                         Shape{17, 32, 8, 100}, Shape{3, 16, 1030, 10},
                                         Shape{8, 48, 4096 + 64, 50}, Shape{2, 32, 3000, 97},
                                         Shape{16, 20, 200, 0}));

TEST(BitmapTile, TakesManyTokensAtOnce) {
  const Product product({70, 33, 136, 60});
  EXPECT_EQ(product.run<BitmapTile<8>>(3), product.reference());
  EXPECT_EQ(product.run<BitmapTile<4>>(4), product.reference());
}

TEST(BitmapTile, WorksUnderManySchedules) {
  const Product product({5, 24, 1000});
  const std::vector<float> want = product.reference();
  for (std::uint64_t seed = 0; seed < 10; ++seed)
    EXPECT_EQ(product.run<BitmapTile<1>>(seed), want) << seed;
}

TEST(BitmapTile, AnEmptySumIsZero) {
  EXPECT_EQ(Product({3, 5, 0}).run<BitmapTile<1>>(1), std::vector<float>(15, 0));
}

// Lanes with a fault each: the emulator must see it, or it proves nothing about the others.
struct WithoutWarpBarriers : Lane {
  explicit WithoutWarpBarriers(const Lane& lane) : Lane(lane) {}
  void warp_barrier() override {}
};
struct WithoutBarriers : Lane {
  explicit WithoutBarriers(const Lane& lane) : Lane(lane) {}
  void barrier() override {}
};
struct WithoutWaiting : Lane {
  explicit WithoutWaiting(const Lane& lane) : Lane(lane) {}
  void wait_until_copied(int pending) override { Lane::wait_until_copied(pending + 1); }
};

TEST(BitmapTile, MissingBarriersAreSeen) {
  const Product product({2, 16, 3000});
  EXPECT_THROW((static_cast<void>(product.run<BitmapTile<1>, WithoutBarriers>(1))), Fault);
  EXPECT_THROW((static_cast<void>(product.run<BitmapTile<1>, WithoutWarpBarriers>(1))), Fault);
}

TEST(BitmapTile, WaitingForOneGroupTooFewIsSeen) {
  const Product product({2, 16, 3000});
  EXPECT_THROW((static_cast<void>(product.run<BitmapTile<1>, WithoutWaiting>(1))), Fault);
}

// A lane's 16 columns are neighbours, and every element of a unit has one place.
TEST(BitmapUnits, ElementsAreDealtOutOnce) {
  std::array<std::array<int, BitmapUnit::kColumns>, BitmapUnit::kRows> times{};
  for (int lane = 0; lane < cuda::kWarpLanes; ++lane) {
    for (int group = 0; group < BitmapUnit::kGroups; ++group) {
      for (int slot = 0; slot < BitmapUnit::kSlots; ++slot) {
        const cuda::Element e = cuda::bitmap_element(lane, group, slot);
        EXPECT_EQ(e.column / 16, lane % 4);
        ++times[static_cast<std::size_t>(e.row)][static_cast<std::size_t>(e.column)];
      }
    }
  }
  for (const auto& row : times) EXPECT_THAT(row, testing::Each(1));
}

TEST(BitmapUnits, CountsWordsInFourBytesAtOnce) {
  std::mt19937 random(1);
  for (int i = 0; i < 1000; ++i) {
    const std::uint32_t mask = random() & random();
    std::uint32_t want = 0;
    for (unsigned shift = 0; shift < 32; shift += 8) {
      want |= static_cast<std::uint32_t>((std::popcount(mask >> shift & 255U) + 1) / 2) << shift;
    }
    EXPECT_EQ(cuda::bitmap_words(mask), want) << mask;
  }
}

}  // namespace
}  // namespace pareto::emulator
