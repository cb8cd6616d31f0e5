// Layouts and loop of qgemm/cuda_w4a16, thread by thread.
#include "kernels/qgemm/w4_tile.cuh"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <set>
#include <vector>

#include "reference/number_formats.h"
#include "tests/emulator/block.h"

namespace pareto::emulator {
namespace {

using cuda::W4Problem;
using cuda::W4Tile;

float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits << 16U); }
std::uint32_t bf16_bits(float value) { return std::bit_cast<std::uint32_t>(value) >> 16U; }

// bf16, as the device's lane does it.
struct W4Lane : Lane {
  explicit W4Lane(const Lane& lane) : Lane(lane) {}

  template <std::size_t kCount>
  void load_words(std::uint32_t (&to)[kCount], std::uint32_t offset) {
    EXPECT_EQ(offset % (4 * kCount), 0U);
    for (std::uint32_t i = 0; i < kCount; ++i) {
      to[i] = std::bit_cast<std::uint32_t>(load_shared(offset + 4 * i));
    }
  }
  std::uint32_t decode_pairs(std::uint32_t word) {
    const auto code = [&](unsigned shift) {
      return bf16_bits(static_cast<float>(static_cast<int>(word >> shift & 15U) - 8));
    };
    return code(0) | code(16) << 16U;
  }
  void multiply_pairs(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                      std::uint32_t b1) {
    multiply(sum, a, b0, b1);
  }
  float float_of_half(std::uint16_t bits) { return bits == 0 ? 0 : bits == 0x3c00 ? 1 : 2; }
};

// Small integers and scales of 1 and 2: every partial sum is exact, in whatever order.
template <int kGroup>
struct Product {
  std::int64_t M;
  std::int64_t N;
  std::int64_t K;
  int steps = static_cast<int>(std::max<std::int64_t>(1, ceil_div(K, cuda::kW4K)));
  int row_blocks = static_cast<int>(ceil_div(N, cuda::kW4Rows));
  std::vector<std::uint16_t> x;
  std::vector<std::uint16_t> w;
  std::vector<std::uint16_t> scales;

  Product(std::int64_t m, std::int64_t n, std::int64_t k) : M(m), N(n), K(k) {
    for (std::int64_t i = 0; i < M * K; ++i) {
      x.push_back(static_cast<std::uint16_t>(bf16_bits(static_cast<float>(i * 7 % 13 - 6))));
    }
    for (std::int64_t unit = 0; unit < row_blocks * steps; ++unit) pack(unit);
  }

  [[nodiscard]] std::uint32_t code(std::int64_t row, std::int64_t k) const {
    return row < N && k < K ? static_cast<std::uint32_t>((row * 5 + k * 3 + k / 16) % 16) : 8;
  }
  [[nodiscard]] int scale(std::int64_t row, std::int64_t group) const {
    return 1 + static_cast<int>((row + group) % 2);
  }
  void pack(std::int64_t unit) {
    const std::int64_t row = unit / steps * cuda::kW4Rows;
    const std::int64_t k = unit % steps * cuda::kW4K;
    for (int word = 0; word < cuda::kW4UnitWords; ++word) {
      std::uint32_t bits = 0;
      for (int c = 0; c < 8; ++c) {
        const cuda::W4Place at = cuda::w4_place(word, c);
        bits |= code(row + at.row, k + at.k) << static_cast<unsigned>(4 * c);
      }
      w.push_back(static_cast<std::uint16_t>(bits));
      w.push_back(static_cast<std::uint16_t>(bits >> 16U));
    }
    for (int i = 0; i < cuda::w4_unit_scales(kGroup); ++i) {
      const cuda::W4ScalePlace at = cuda::w4_scale_place(i, kGroup);
      const std::int64_t group = k / kGroup + at.group;
      const bool there = row + at.row < N && group * kGroup < K;
      scales.push_back(!there ? 0 : scale(row + at.row, group) == 1 ? 0x3c00 : 0x4000);
    }
  }

  [[nodiscard]] std::vector<float> reference() const {
    std::vector<float> y;
    for (std::int64_t m = 0; m < M; ++m) {
      for (std::int64_t n = 0; n < N; ++n) {
        double sum = 0;
        for (std::int64_t k = 0; k < K; ++k) {
          sum += double{float_of(x[static_cast<std::size_t>(m * K + k)])} *
                 (static_cast<int>(code(n, k)) - 8) * scale(n, k / kGroup);
        }
        y.push_back(static_cast<float>(sum));
      }
    }
    return y;
  }

  // The units shared out over `blocks` blocks; sums of one tile from several blocks are added.
  template <class T, typename LaneType = W4Lane>
  [[nodiscard]] std::vector<float> run(std::int64_t blocks, std::uint64_t seed) const {
    std::vector<float> y(static_cast<std::size_t>(M * N), 0);
    const W4Problem p{M, N, K, steps, row_blocks, x.data(), w.data(), scales.data()};
    const std::int64_t units = ceil_div(M, T::kM) * row_blocks * steps;
    for (std::int64_t b = 0; b < blocks; ++b) {
      Block block(cuda::kW4Threads, T::kSharedBytes, seed++);
      block.allow(x);
      block.allow(w);
      block.allow(scales);
      block.run([&](Lane& plain) {
        LaneType lane(plain);
        cuda::w4_units<T>(
            lane, p, cuda::w4_first_unit(b, units, blocks),
            cuda::w4_first_unit(b + 1, units, blocks), [&](std::int64_t xb, std::int64_t rb) {
              for (int e = lane.thread(); e < T::kM * cuda::kW4Rows; e += cuda::kW4Threads) {
                const int m = e / cuda::kW4Rows;
                const int n = e % cuda::kW4Rows;
                const float sum = lane.load_shared(T::kSumsAt + cuda::w4_sum_offset(m, n));
                const std::int64_t row = xb * T::kM + m;
                const std::int64_t column = rb * cuda::kW4Rows + n;
                if (row < M && column < N) y[static_cast<std::size_t>(row * N + column)] += sum;
              }
            });
      });
    }
    return y;
  }
};

TEST(W4Layout, EveryCodeOfAUnitHasOnePlace) {
  std::set<std::pair<int, int>> seen;
  for (int word = 0; word < cuda::kW4UnitWords; ++word) {
    for (int code = 0; code < 8; ++code) {
      const cuda::W4Place at = cuda::w4_place(word, code);
      ASSERT_TRUE(at.row >= 0 && at.row < cuda::kW4Rows && at.k >= 0 && at.k < cuda::kW4K);
      seen.insert({at.row, at.k});
    }
  }
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(cuda::kW4Rows * cuda::kW4K));
}

TEST(W4Layout, EveryScaleOfAUnitHasOnePlace) {
  for (const int group : {32, 128}) {
    std::set<std::pair<int, int>> seen;
    for (int i = 0; i < cuda::w4_unit_scales(group); ++i) {
      const cuda::W4ScalePlace at = cuda::w4_scale_place(i, group);
      ASSERT_TRUE(at.row >= 0 && at.row < cuda::kW4Rows);
      ASSERT_TRUE(at.group >= 0 && at.group < cuda::kW4K / group);
      seen.insert({at.row, at.group});
    }
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(cuda::w4_unit_scales(group)));
  }
}

TEST(W4Layout, LoadsOfXReachAllBanks) {
  for (int first = 0; first < 16; first += 2) {
    for (int e = 0; e < 2; ++e) {
      std::set<std::uint32_t> banks;
      for (int row = first; row < first + 2; ++row) {
        for (int t = 0; t < 4; ++t) {
          banks.insert(cuda::w4_x_offset(16, row, 1, 4 * e + t) / 16 % 8);
        }
      }
      EXPECT_EQ(banks.size(), 8U);
    }
  }
}

TEST(W4Layout, BlocksShareTheUnitsWithoutGaps) {
  for (const auto& [units, blocks] :
       {std::pair{1, 1}, {7, 3}, {3584, 264}, {1000, 256}, {264, 264}}) {
    EXPECT_EQ(cuda::w4_first_unit(0, units, blocks), 0);
    EXPECT_EQ(cuda::w4_first_unit(blocks, units, blocks), units);
    for (std::int64_t unit = 0; unit < units; ++unit) {
      const std::int64_t block = cuda::w4_block_of(unit, units, blocks);
      ASSERT_LE(cuda::w4_first_unit(block, units, blocks), unit);
      ASSERT_GT(cuda::w4_first_unit(block + 1, units, blocks), unit);
    }
  }
}

// Two blocks' parts of one tile never share a slot, nor two tiles of one block.
TEST(W4Layout, PartsOfTilesHaveSlotsOfTheirOwn) {
  constexpr std::int64_t kSteps = 5;
  for (const std::int64_t blocks : {1, 2, 3, 7, 11, 30}) {
    const std::int64_t units = 6 * kSteps;
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t first = cuda::w4_first_unit(block, units, blocks);
      const std::int64_t last = cuda::w4_first_unit(block + 1, units, blocks) - 1;
      std::array<int, 2> uses{};
      for (std::int64_t tile = first / kSteps; tile <= last / kSteps; ++tile) {
        const bool whole = tile * kSteps >= first && (tile + 1) * kSteps - 1 <= last;
        if (!whole) ++uses[static_cast<std::size_t>(cuda::w4_slot(tile, first, kSteps))];
      }
      EXPECT_LE(uses[0], 1);
      EXPECT_LE(uses[1], 1);
    }
  }
}

TEST(W4Tile, GivesTheReferencesBits) {
  const Product<128> small(1, 1, 1);
  EXPECT_EQ((small.run<W4Tile<1, 128, 4>>(1, 1)), small.reference());
  const Product<128> odd(5, 131, 300);
  EXPECT_EQ((odd.run<W4Tile<1, 128, 4>>(1, 2)), odd.reference());
  const Product<128> two_blocks_of_x(17, 40, 264);
  EXPECT_EQ((two_blocks_of_x.run<W4Tile<2, 128, 4>>(2, 3)), two_blocks_of_x.reference());
  const Product<128> wide(64, 130, 129);
  EXPECT_EQ((wide.run<W4Tile<8, 128, 3>>(3, 4)), wide.reference());
}

TEST(W4Tile, GivesTheReferencesBitsInGroupsOf32) {
  const Product<32> small(1, 1, 1);
  EXPECT_EQ((small.run<W4Tile<1, 32, 4>>(1, 1)), small.reference());
  const Product<32> odd(3, 131, 300);
  EXPECT_EQ((odd.run<W4Tile<1, 32, 4>>(2, 2)), odd.reference());
  const Product<32> wide(30, 129, 200);
  EXPECT_EQ((wide.run<W4Tile<4, 32, 5>>(1, 3)), wide.reference());
}

TEST(W4Tile, SharesTheUnitsOutOverAnyNumberOfBlocks) {
  const Product<128> product(4, 260, 520);
  const std::vector<float> want = product.reference();
  for (const std::int64_t blocks : {1, 2, 4, 7, 15}) {
    EXPECT_EQ((product.run<W4Tile<1, 128, 4>>(blocks, 5)), want) << blocks;
  }
}

TEST(W4Tile, AnEmptySumIsZero) {
  const Product<128> product(2, 3, 0);
  EXPECT_EQ((product.run<W4Tile<1, 128, 4>>(1, 1)), std::vector<float>(6, 0));
}

struct WithoutBarriers : W4Lane {
  explicit WithoutBarriers(const Lane& lane) : W4Lane(lane) {}
  void barrier() override {}
};
struct WithoutWaiting : W4Lane {
  explicit WithoutWaiting(const Lane& lane) : W4Lane(lane) {}
  void wait_until_copied(int pending) override { Lane::wait_until_copied(pending + 1); }
};

TEST(W4Tile, AMissingBarrierIsSeen) {
  const Product<128> product(4, 8, 256);
  EXPECT_THROW(static_cast<void>(product.run<W4Tile<1, 128, 4>, WithoutBarriers>(1, 1)), Fault);
}

TEST(W4Tile, WaitingForOneGroupTooFewIsSeen) {
  const Product<128> product(4, 8, 256);
  EXPECT_THROW(static_cast<void>(product.run<W4Tile<1, 128, 4>, WithoutWaiting>(1, 1)), Fault);
}

}  // namespace
}  // namespace pareto::emulator
