// W of a 2:4 layer packed in units (two_to_four_units.h), on the host: in `prepare`.
//
// Row by row: its 16 pairs and 16 nibbles of a unit are read at once and dealt out to the lanes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "harness/thread_pool.h"
#include "kernels/sparse/two_to_four_units.h"

namespace pareto::cuda {

/// W [rows,columns] in 16-bit codes as reference/sparse.h has it, in host memory; G = ⌈columns/4⌉.
struct TwoToFourWeights {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const std::uint16_t* values = nullptr;  ///< [rows,2G]
  const std::uint8_t* meta = nullptr;     ///< [rows,⌈G/2⌉]
};

/// What a row has in one block of 64 columns; nothing beyond W.
struct TwoToFourRow {
  std::uint32_t values[TwoToFourUnit::kWindows] = {};  ///< pairs
  std::uint64_t places = 0x4444444444444444U;          ///< a nibble for each pair

  static TwoToFourRow of(const TwoToFourWeights& w, std::int64_t row, std::int64_t unit) {
    constexpr std::int64_t kGroups = TwoToFourUnit::kWindows;
    TwoToFourRow part;
    if (row >= w.rows) return part;
    const std::int64_t groups = (w.columns + 3) / 4;
    const std::int64_t here = std::min(kGroups, groups - unit * kGroups);
    std::memcpy(part.values, w.values + 2 * (row * groups + unit * kGroups),
                static_cast<std::size_t>(4 * here));
    std::memcpy(&part.places, w.meta + row * ((groups + 1) / 2) + unit * kGroups / 2,
                static_cast<std::size_t>((here + 1) / 2));
    return part;
  }
  [[nodiscard]] std::uint32_t nibble(int group) const {
    return static_cast<std::uint32_t>(places >> static_cast<unsigned>(4 * group) & 15U);
  }
};

/// Puts row `row` (0 … 15) of a unit in its places; the unit's words are 0 there.
template <WindowOrder kOrder>
void pack_two_to_four_row(const TwoToFourRow& part, int row, std::uint32_t* words) {
  using U = TwoToFourUnit;
  const int half = row / 8;  // register, and half of the metadata
  for (int t = 0; t < 4; ++t) {
    const int lane = 4 * (row % 8) + t;
    for (int i = 0; i < 4; ++i) {  // step, upper registers: mma_a16
      const int group = two_to_four_group(kOrder, i / 2, t + 4 * (i % 2));
      words[U::kStepWords * (i / 2) + 4 * lane + 2 * (i % 2) + half] = part.values[group];
    }
    std::uint32_t meta = 0;
    for (int i = 0; i < 4; ++i) {  // metadata16
      const int group = two_to_four_group(kOrder, t / 2, 4 * (t % 2) + i);
      meta |= part.nibble(group) << static_cast<unsigned>(4 * i);
    }
    words[U::kMetaWord + lane] |= meta << static_cast<unsigned>(16 * half);
  }
}

template <WindowOrder kOrder>
std::vector<std::uint32_t> pack_two_to_four(const TwoToFourWeights& w, ThreadPool& pool) {
  using U = TwoToFourUnit;
  const std::int64_t together = U::kRows * U::kTogether;
  const std::int64_t row_tiles = (w.rows + together - 1) / together * U::kTogether;
  const std::int64_t units = (w.columns + U::kColumns - 1) / U::kColumns;
  std::vector<std::uint32_t> words(static_cast<std::size_t>(row_tiles * units * U::kWords));
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(row_tiles, thread, threads);
    for (std::int64_t tile = begin; tile < end; ++tile) {
      for (std::int64_t unit = 0; unit < units; ++unit) {
        std::uint32_t* to = words.data() + two_to_four_place(tile, unit, units);
        for (int row = 0; row < U::kRows; ++row) {
          pack_two_to_four_row<kOrder>(TwoToFourRow::of(w, tile * U::kRows + row, unit), row, to);
        }
      }
    }
  });
  return words;
}

/// All of W: `rows` rounded up to 128, ⌈columns / 64⌉ units.
inline std::vector<std::uint32_t> pack_two_to_four(WindowOrder order, const TwoToFourWeights& w,
                                                   ThreadPool& pool) {
  return order == WindowOrder::kInPairs ? pack_two_to_four<WindowOrder::kInPairs>(w, pool)
                                        : pack_two_to_four<WindowOrder::kInOrder>(w, pool);
}

}  // namespace pareto::cuda
