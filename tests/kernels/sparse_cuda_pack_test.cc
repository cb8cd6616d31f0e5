// The packings of sparse/cuda_bitmap and sparse/cuda_2to4 against what their units are said to
// hold, element by element.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/sparse/bitmap_pack.h"
#include "kernels/sparse/two_to_four_pack.h"

namespace pareto::cuda {
namespace {

std::size_t index_of(std::int64_t i) { return static_cast<std::size_t>(i); }

// W [rows, columns] with `percent` of its codes there, in both forms.
struct BitmapCase {
  BitmapCase(std::int64_t row_count, std::int64_t column_count, int percent)
      : rows(row_count), columns(column_count), dense(index_of(rows * columns)) {
    std::mt19937_64 random(static_cast<std::uint64_t>(rows + columns));
    const std::int64_t words = (columns + 63) / 64;
    masks.resize(index_of(rows * words));
    for (std::int64_t n = 0; n < rows; ++n) {
      for (std::int64_t k = 0; k < columns; ++k) {
        if (static_cast<int>(random() % 100) >= percent) continue;
        const auto code = static_cast<std::uint16_t>(1 + random() % 0xffff);
        dense[index_of(n * columns + k)] = code;
        masks[index_of(n * words + k / 64)] |= std::uint64_t{1} << static_cast<unsigned>(k % 64);
        values.push_back(code);
      }
      offset.push_back(static_cast<std::int64_t>(values.size()));
    }
    values.resize(values.size() + index_of(BitmapWeights::kReadBehind), 0xffff);
  }
  [[nodiscard]] std::uint16_t code(std::int64_t n, std::int64_t k) const {
    return n < rows && k < columns ? dense[index_of(n * columns + k)] : std::uint16_t{0};
  }
  [[nodiscard]] BitmapPacked packed(int threads) const {
    ThreadPool pool(threads);
    return pack_bitmap({rows, columns, masks.data(), offset.data(), values.data()},
                       (rows + 31) / 32 * 2, pool);
  }

  std::int64_t rows;
  std::int64_t columns;
  std::vector<std::uint16_t> dense;
  std::vector<std::uint64_t> masks;
  std::vector<std::int64_t> offset = {0};
  std::vector<std::uint16_t> values;
};

// As bitmap_units.h describes a unit.
std::vector<std::uint32_t> unit_of(const BitmapCase& w, std::int64_t tile, std::int64_t block) {
  using U = BitmapUnit;
  std::vector<std::uint32_t> words(kWarpLanes);
  for (int group = 0; group < U::kGroups; ++group) {
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      std::vector<std::uint16_t> share;
      std::size_t front = 0;
      for (int slot = 0; slot < U::kSlots; ++slot) {
        const Element e = bitmap_element(lane, group, slot);
        const std::uint16_t code = w.code(tile * U::kRows + e.row, block * U::kColumns + e.column);
        if (code == 0) continue;
        words[index_of(lane)] |= 1U << static_cast<unsigned>(U::kSlots * group + slot);
        share.push_back(code);
        if (slot < U::kHalfSlots) front = share.size();
      }
      if (share.size() % 2 != 0)
        share.insert(share.begin() + static_cast<std::ptrdiff_t>(front), 0);
      for (std::size_t i = 0; i < share.size(); i += 2) {
        words.push_back(share[i] | static_cast<std::uint32_t>(share[i + 1]) << 16U);
      }
    }
  }
  words.resize((words.size() + 3) / 4 * 4);
  return words;
}

TEST(BitmapPack, HoldsWhatUnitsAreSaidToHold) {
  for (const BitmapCase& w : {BitmapCase{33, 200, 50}, BitmapCase{16, 64, 100},
                              BitmapCase{70, 1030, 10}, BitmapCase{1, 1, 0}}) {
    const BitmapPacked packed = w.packed(1);
    const std::int64_t units = (w.columns + 63) / 64;
    std::vector<std::uint32_t> want;
    std::size_t longest = 0;
    for (std::int64_t at = 0; at < (w.rows + 31) / 32 * 2 * units; ++at) {
      EXPECT_EQ(packed.offset[index_of(at)], want.size() / 4);
      const std::vector<std::uint32_t> unit = unit_of(w, at / units, at % units);
      longest = std::max(longest, 4 * unit.size());
      want.insert(want.end(), unit.begin(), unit.end());
    }
    EXPECT_EQ(packed.offset.back(), want.size() / 4);
    EXPECT_EQ(packed.words, want);
    EXPECT_EQ(index_of(packed.longest_bytes), longest);
  }
}

TEST(BitmapPack, IsTheSameForEveryTeam) {
  const BitmapCase w(130, 300, 40);
  const BitmapPacked alone = w.packed(1);
  for (const int threads : {2, 3, 16}) {
    EXPECT_EQ(w.packed(threads).words, alone.words);
    EXPECT_EQ(w.packed(threads).offset, alone.offset);
  }
}

// Distinct pairs and random places.
struct TwoToFourCase {
  TwoToFourCase(std::int64_t row_count, std::int64_t column_count)
      : rows(row_count), columns(column_count), groups((columns + 3) / 4) {
    constexpr std::uint8_t kNibbles[] = {4, 8, 9, 12, 13, 14};
    std::mt19937_64 random(static_cast<std::uint64_t>(rows + columns));
    for (std::int64_t n = 0; n < rows; ++n) {
      for (std::int64_t g = 0; g < groups; ++g) {
        values.push_back(static_cast<std::uint16_t>(values.size() + 1));
        values.push_back(static_cast<std::uint16_t>(random()));
        nibbles.push_back(kNibbles[random() % 6]);
        if (g % 2 == 0) {
          meta.push_back(static_cast<std::uint8_t>(nibbles.back() | 0x40U));
        } else {
          meta.back() = static_cast<std::uint8_t>((meta.back() & 15U) | nibbles.back() << 4U);
        }
      }
    }
  }
  [[nodiscard]] std::vector<std::uint32_t> packed(WindowOrder order, int threads) const {
    ThreadPool pool(threads);
    return pack_two_to_four(order, {rows, columns, values.data(), meta.data()}, pool);
  }
  [[nodiscard]] std::uint32_t pair(std::int64_t n, std::int64_t g) const {
    if (n >= rows || g >= groups) return 0;
    const std::size_t at = index_of(2 * (n * groups + g));
    return values[at] | static_cast<std::uint32_t>(values[at + 1]) << 16U;
  }
  [[nodiscard]] std::uint32_t places(std::int64_t n, std::int64_t g) const {
    return n < rows && g < groups ? nibbles[index_of(n * groups + g)] : metadata_nibble(0, 1);
  }

  std::int64_t rows;
  std::int64_t columns;
  std::int64_t groups;
  std::vector<std::uint16_t> values;
  std::vector<std::uint8_t> nibbles;
  std::vector<std::uint8_t> meta;
};

// As two_to_four_units.h describes a unit.
std::vector<std::uint32_t> unit_of(const TwoToFourCase& w, WindowOrder order, std::int64_t tile,
                                   std::int64_t block) {
  using U = TwoToFourUnit;
  std::vector<std::uint32_t> words(U::kWords);
  const std::int64_t row = tile * U::kRows;
  const std::int64_t group = block * U::kWindows;
  for (int lane = 0; lane < kWarpLanes; ++lane) {
    for (int i = 0; i < U::kSteps * 4; ++i) {
      const Element e = mma_a16(lane, i % 4, 0);  // columns are compressed ones
      words[index_of(U::kStepWords * (i / 4) + 4 * lane + i % 4)] =
          w.pair(row + e.row, group + two_to_four_group(order, i / 4, e.column / 2));
    }
    for (int nibble = 0; nibble < 8; ++nibble) {
      const SparseWindow at = metadata16(lane, nibble);
      const int step = member_of(lane) / 2;
      words[index_of(U::kMetaWord + lane)] |=
          w.places(row + at.row, group + two_to_four_group(order, step, at.window))
          << static_cast<unsigned>(4 * nibble);
    }
  }
  return words;
}

TEST(TwoToFourPack, HoldsWhatUnitsAreSaidToHold) {
  for (const TwoToFourCase& w : {TwoToFourCase{33, 200}, TwoToFourCase{130, 66}, {1, 1}}) {
    for (const WindowOrder order : {WindowOrder::kInOrder, WindowOrder::kInPairs}) {
      const std::vector<std::uint32_t> packed = w.packed(order, 1);
      EXPECT_EQ(w.packed(order, 3), packed);
      const std::int64_t units = (w.columns + 63) / 64;
      const std::int64_t tiles = (w.rows + 127) / 128 * 8;
      ASSERT_EQ(packed.size(), index_of(tiles * units * TwoToFourUnit::kWords));
      for (std::int64_t at = 0; at < tiles * units; ++at) {
        const std::vector<std::uint32_t> want = unit_of(w, order, at / units, at % units);
        const auto begin = packed.begin() + two_to_four_place(at / units, at % units, units);
        EXPECT_TRUE(std::equal(want.begin(), want.end(), begin)) << at;
      }
    }
  }
}

}  // namespace
}  // namespace pareto::cuda
