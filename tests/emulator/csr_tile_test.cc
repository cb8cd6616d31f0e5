// The tile loops of sparse/cuda_csr, thread by thread.
#include "kernels/sparse/csr_tile.cuh"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "kernels/sparse/csr_vector.cuh"
#include "tests/emulator/block.h"

namespace pareto::emulator {
namespace {

using cuda::CsrChunk;
using cuda::CsrOperands;
using cuda::CsrPacked;
using cuda::CsrProblem;
using cuda::CsrTile;
using cuda::CsrVector;

struct Shape {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  int percent = 50;  ///< of the weights that are there
};

// Elements written twice are wrong.
struct Output {
  static constexpr float kUnwritten = -12345;
  explicit Output(const Shape& shape)
      : columns(shape.N), values(static_cast<std::size_t>(shape.M * shape.N), kUnwritten) {}
  auto store() {
    return [this](std::int64_t m, std::int64_t n, float sum) {
      float& element = values[static_cast<std::size_t>(m * columns + n)];
      EXPECT_EQ(element, kUnwritten);
      element = sum;
    };
  }
  std::int64_t columns;
  std::vector<float> values;
};

// Small whole numbers: every partial sum is exact, in whatever order. Every third row is empty or
// full; what stands opposite a pruned weight in all rows is infinite.
class Product {
 public:
  explicit Product(const Shape& shape) : shape_(shape) {
    std::mt19937_64 random(static_cast<std::uint64_t>(shape.M * 31 + shape.N * 7 + shape.K));
    const auto draw = [&](int below) {
      return static_cast<int>(random() % static_cast<unsigned>(below));
    };
    std::vector<bool> used(static_cast<std::size_t>(shape.K));
    for (std::int64_t n = 0; n < shape.N; ++n) {
      const int percent = n % 6 == 2 ? 0 : shape.percent;
      for (std::int64_t k = 0; k < shape.K; ++k) {
        if (k % 50 == 7 || draw(100) >= percent) continue;
        used[static_cast<std::size_t>(k)] = true;
        column_.push_back(static_cast<std::int32_t>(k));
        value_.push_back(static_cast<float>(draw(9) - 4));
      }
      offset_.push_back(static_cast<std::int64_t>(column_.size()));
    }
    x_.assign(kGuard, std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t i = 0; i < shape.M * shape.K; ++i) {
      x_.push_back(used[static_cast<std::size_t>(i % shape.K)]
                       ? static_cast<float>(draw(17) - 8)
                       : std::numeric_limits<float>::infinity());
    }
    x_.resize(x_.size() + kGuard, std::numeric_limits<float>::quiet_NaN());
  }

  [[nodiscard]] std::vector<float> reference() const {
    std::vector<float> y;
    for (std::int64_t i = 0; i < shape_.M * shape_.N; ++i) {
      y.push_back(cuda::csr_element(i, operands()));
    }
    return y;
  }

  template <typename LaneType = Lane>
  [[nodiscard]] std::vector<float> run_tiles(std::uint64_t seed) const {
    const CsrPacked packed = cuda::pack_csr(shape_.N, shape_.K, [&](std::int64_t n) {
      const std::int64_t begin = offset_[static_cast<std::size_t>(n)];
      return cuda::CsrRow{column_.data() + begin, value_.data() + begin,
                          offset_[static_cast<std::size_t>(n + 1)] - begin};
    });
    const CsrProblem<float> problem{shape_.M,
                                    shape_.K,
                                    x_.data() + kGuard,
                                    packed.words.data(),
                                    packed.offset.data(),
                                    packed.row.data(),
                                    packed.longest_bytes};
    Output y(shape_);
    const auto tiles = static_cast<std::int64_t>(packed.row.size() / CsrChunk::kRows);
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      for (std::int64_t token = 0; token < shape_.M; token += CsrChunk::kTokens) {
        Block block(CsrTile::kThreads,
                    static_cast<std::size_t>(CsrTile::shared_bytes(packed.longest_bytes)), seed++);
        block.allow(
            {reinterpret_cast<const std::uint16_t*>(packed.words.data()), 2 * packed.words.size()});
        block.allow({reinterpret_cast<const std::uint16_t*>(x_.data() + kGuard),
                     static_cast<std::size_t>(2 * shape_.M * shape_.K)});
        block.run([&](Lane& plain) {
          LaneType lane(plain);
          cuda::csr_tile(lane, problem, tile, token, y.store());
        });
      }
    }
    return y.values;
  }

  template <int kTokens, bool kShared>
  [[nodiscard]] std::vector<float> run_rows(std::uint64_t seed) const {
    Output y(shape_);
    for (std::int64_t row = 0; row < shape_.N; row += CsrVector::kWarps) {
      Block block(CsrVector::kThreads,
                  kShared ? static_cast<std::size_t>(4 * kTokens * shape_.K) : 0, seed++);
      block.run([&](Lane& lane) {
        cuda::csr_vector<kTokens, kShared>(lane, operands(), shape_.M, row, y.store());
      });
    }
    return y.values;
  }

 private:
  static constexpr std::int64_t kGuard = 64;

  [[nodiscard]] CsrOperands<float> operands() const {
    return {shape_.N, shape_.K, x_.data() + kGuard, value_.data(), column_.data(), offset_.data()};
  }

  Shape shape_;
  std::vector<float> x_;
  std::vector<std::int32_t> column_;
  std::vector<float> value_;
  std::vector<std::int64_t> offset_ = {0};
};

class CsrTileShapes : public testing::TestWithParam<Shape> {};

TEST_P(CsrTileShapes, GivesTheReferencesBits) {
  const Product product(GetParam());
  EXPECT_EQ(product.run_tiles(7), product.reference());
}

// Columns in whole fours and not; fewer and more than a chunk has; more rows and tokens than a
// tile.
INSTANTIATE_TEST_SUITE_P(Edges, CsrTileShapes,
                         testing::Values(Shape{1, 1, 1}, Shape{5, 17, 33}, Shape{65, 130, 257},
                                         Shape{9, 64, 128, 100}, Shape{64, 20, 520, 10},
                                         Shape{3, 5, 0}, Shape{7, 70, 45, 0}));

class CsrVectorShapes : public testing::TestWithParam<Shape> {};

TEST_P(CsrVectorShapes, GivesTheReferencesBits) {
  const Product product(GetParam());
  const std::vector<float> want = product.reference();
  EXPECT_EQ((product.run_rows<4, true>(1)), want);
  EXPECT_EQ((product.run_rows<4, false>(2)), want);
  if (GetParam().M == 1) {
    EXPECT_EQ((product.run_rows<1, true>(3)), want);
  }
}

INSTANTIATE_TEST_SUITE_P(Edges, CsrVectorShapes,
                         testing::Values(Shape{1, 1, 1}, Shape{1, 17, 300}, Shape{4, 33, 129, 90},
                                         Shape{3, 5, 1000, 20}, Shape{2, 3, 0}));

// Lanes with a fault each: the emulator must see it, or it proves nothing about the others.
struct WithoutBarriers : Lane {
  explicit WithoutBarriers(const Lane& lane) : Lane(lane) {}
  void barrier() override {}
};
struct WithoutWaiting : Lane {
  explicit WithoutWaiting(const Lane& lane) : Lane(lane) {}
  void wait_until_copied(int pending) override { Lane::wait_until_copied(pending + 1); }
};

TEST(CsrTile, FaultsAreSeen) {
  const Product product({8, 64, 400});
  EXPECT_THROW(static_cast<void>(product.run_tiles<WithoutBarriers>(1)), Fault);
  EXPECT_THROW(static_cast<void>(product.run_tiles<WithoutWaiting>(1)), Fault);
}

// A tile of x is moved once, and a warp's stores meet 32 banks.
TEST(CsrTile, MovesCoverTheTileWithoutConflicts) {
  std::set<std::array<int, 2>> moved;
  for (int move = 0; move < CsrTile::kMoves; ++move) {
    for (int warp = 0; warp < CsrTile::kWarps; ++warp) {
      std::set<std::uint32_t> banks;
      for (int lane = 0; lane < cuda::kWarpLanes; ++lane) {
        const cuda::CsrMove at = cuda::csr_move(warp * cuda::kWarpLanes + lane, move);
        moved.insert({at.token, at.column});
        banks.insert((CsrChunk::column_byte(at.column) / 4 + static_cast<unsigned>(at.token)) % 32);
      }
      EXPECT_EQ(banks.size(), 32U);
    }
  }
  EXPECT_EQ(moved.size(), static_cast<std::size_t>(CsrChunk::kTokens * CsrChunk::kColumns / 4));
  EXPECT_EQ((*moved.rbegin())[0], CsrChunk::kTokens - 1);
}

}  // namespace
}  // namespace pareto::emulator
