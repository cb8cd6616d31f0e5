// Shared memory, order of tiles and choice of tiles of qgemm/cuda_wgmma, on the host.
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "kernels/qgemm/wgmma_layout.h"

namespace pareto::cuda {
namespace {

TEST(WgmmaLayout, UnitsCoverTheGridOnce) {
  for (const auto& [rows, columns] :
       {std::pair{1, 1}, {1, 128}, {7, 3}, {8, 5}, {9, 5}, {16, 16}, {33, 2}}) {
    std::set<std::pair<std::int64_t, std::int64_t>> seen;
    for (std::int64_t unit = 0; unit < rows * columns; ++unit) {
      const MatrixPlace place = unit_place(unit, rows, columns);
      ASSERT_TRUE(place.row >= 0 && place.row < rows && place.column >= 0 && place.column < columns)
          << rows << " x " << columns << ": unit " << unit;
      seen.insert({place.row, place.column});
    }
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(rows * columns)) << rows << " x " << columns;
  }
}

// 66 clusters run at once: of 8192³ they should touch about as many rows of x as of w.
TEST(WgmmaLayout, NeighbouringUnitsShareRowsAndColumns) {
  std::set<std::int64_t> rows;
  std::set<std::int64_t> columns;
  for (std::int64_t unit = 0; unit < 66; ++unit) {
    const MatrixPlace place = unit_place(unit, 32, 32);
    rows.insert(place.row);
    columns.insert(place.column);
  }
  EXPECT_EQ(rows.size(), 8U);
  EXPECT_EQ(columns.size(), 9U);
}

template <int kColumns>
void slice_test() {
  std::set<std::uint32_t> offsets;
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      const std::uint32_t offset = slice_offset(row, column, kColumns);
      EXPECT_LT(offset, 16U * kColumns * 4);
      EXPECT_EQ(offset / 4 % 4, static_cast<std::uint32_t>(column % 4)) << "a chunk stays whole";
      offsets.insert(offset);
    }
  }
  EXPECT_EQ(offsets.size(), 16U * kColumns);
}

TEST(WgmmaLayout, SlicesHoldEveryElementOnce) {
  slice_test<32>();
  slice_test<64>();
}

// Two accumulators of one row at once: half a warp in a phase, 128 bytes, each bank once.
TEST(WgmmaLayout, AccumulatorsReachAllBanksOfASlice) {
  for (const int columns : {32, 64}) {
    for (int r = 0; r < columns / 2; r += 2) {
      for (int half = 0; half < 2; ++half) {
        std::set<std::uint32_t> banks;
        for (int lane = 16 * half; lane < 16 * half + 16; ++lane) {
          const Element e = wgmma_d32(lane, r);
          EXPECT_EQ(wgmma_d32(lane, r + 1).column, e.column + 1);
          banks.insert(slice_offset(e.row, e.column, columns) / 8 % 16);
        }
        EXPECT_EQ(banks.size(), 16U) << columns << " columns, register " << r;
      }
    }
  }
}

// Four elements of a row at once: a quarter of a warp in a phase.
TEST(WgmmaLayout, RowsReachAllBanksOfASlice) {
  for (const int columns : {32, 64}) {
    for (int first = 0; first < 16 * columns; first += 8 * 4) {
      std::set<std::uint32_t> banks;
      for (int e = first; e < first + 32; e += 4) {
        banks.insert(slice_offset(e / columns, e % columns, columns) / 16 % 8);
      }
      EXPECT_EQ(banks.size(), 8U) << columns << " columns, element " << first;
    }
  }
}

// What TMA writes as boxes of 64 k × rows must lie where the products of each warpgroup look.
template <class T>
void stage_test() {
  const std::uint32_t x = T::kAlignment;
  const std::uint32_t w = x + T::kXBytes;
  for (int group = 0; group < T::kGroups; ++group) {
    for (std::uint32_t k16 = 0; k16 < T::kRowBytes / 32; ++k16) {
      MatrixDescriptor a =
          k_major(x + static_cast<std::uint32_t>(group * 64 * 128), 64, Swizzle::k128);
      a.start += k16 * k_major_step(64, Swizzle::k128);
      for (int row = 0; row < 64; ++row) {
        const std::uint32_t written =
            x + static_cast<std::uint32_t>((group * 64 + row) * 128) + 32 * k16;
        EXPECT_EQ(k_major_address(a, row, 0), swizzled(written, Swizzle::k128));
        EXPECT_EQ(k_major_address(a, row, 31), swizzled(written + 31, Swizzle::k128));
      }
    }
  }
  // Each block of a cluster loads its share of w.
  MatrixDescriptor b = k_major(w, T::kN, Swizzle::k128);
  for (int rank = 0; rank < T::kCluster; ++rank) {
    const int share = T::kN / T::kCluster;
    const std::uint32_t box = w + static_cast<std::uint32_t>(rank * share * 128);
    EXPECT_EQ(box % T::kAlignment, 0U);
    for (int row = 0; row < share; ++row) {
      EXPECT_EQ(k_major_address(b, rank * share + row, 5),
                swizzled(box + static_cast<std::uint32_t>(row * 128) + 5, Swizzle::k128));
    }
  }
}

TEST(WgmmaLayout, ProductsFindWhatTmaWrote) {
  stage_test<WgmmaTile<2, 256, 4, 2>>();
  stage_test<WgmmaTile<2, 128, 6, 2>>();
  stage_test<WgmmaTile<2, 128, 6, 1>>();
  stage_test<WgmmaTile<1, 32, 12, 1>>();
}

constexpr std::int64_t kH100 = 132;
constexpr TileSize kLarge{128, 256, 2};
constexpr TileSize kSmall{64, 32, 1};

TEST(WgmmaLayout, ManyTilesAreLargeAndFewAreSmall) {
  EXPECT_LT(tile_cost(kLarge, 4096, 4096, kH100), tile_cost(kSmall, 4096, 4096, kH100));
  EXPECT_LT(tile_cost(kLarge, 8192, 8192, kH100), tile_cost({128, 128, 1}, 8192, 8192, kH100));
  EXPECT_GT(tile_cost(kLarge, 16, 4096, kH100), tile_cost(kSmall, 16, 4096, kH100));
}

}  // namespace
}  // namespace pareto::cuda
