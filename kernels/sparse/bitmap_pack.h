// W of a bitmap layer packed in units (bitmap_units.h), on the host: in `prepare`.
//
// A word of a row's mask gives each of the unit's 4 lanes of that row its 16 bits at once, and
// where their values begin; a lane's share is then copied in 4 pieces of 0 to 2 values, without a
// branch. Sizes of all units first, from the masks alone, so that row tiles can be packed side by
// side.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "harness/thread_pool.h"
#include "kernels/sparse/bitmap_units.h"

namespace pareto::cuda {

/// W [rows,columns] in 16-bit codes as reference/sparse.h has it, in host memory.
struct BitmapWeights {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const std::uint64_t* masks = nullptr;   ///< [rows,⌈columns/64⌉]
  const std::int64_t* offset = nullptr;   ///< [rows + 1]
  const std::uint16_t* values = nullptr;  ///< kReadBehind more can be read
  static constexpr std::int64_t kReadBehind = 2;
};

/// W in units; row tiles of 16 one after the other, in each the units in order of columns.
struct BitmapPacked {
  std::vector<std::uint32_t> words;
  std::vector<std::uint32_t> offset;  ///< of each unit in chunks of 16 bytes, and the end
  int longest_bytes = BitmapUnit::kMaskBytes;
};

/// What 16 rows have in one block of 64 columns.
struct BitmapRows {
  std::uint64_t mask[BitmapUnit::kRows] = {};
  const std::uint16_t* value[BitmapUnit::kRows] = {};  ///< the first of each row here

  /// Masks of the block of columns `unit`, of the 16 rows of row tile `tile`.
  void take_masks(const BitmapWeights& w, std::int64_t tile, std::int64_t unit) {
    const std::int64_t units = (w.columns + BitmapUnit::kColumns - 1) / BitmapUnit::kColumns;
    for (std::int64_t i = 0; i < BitmapUnit::kRows; ++i) {
      const std::int64_t row = tile * BitmapUnit::kRows + i;
      mask[i] = row < w.rows ? w.masks[row * units + unit] : 0;
    }
  }
};

/// The 8 pairs of bits of the low half, two bits apart.
constexpr std::uint32_t spread_pairs(std::uint32_t bits) {
  bits = (bits | bits << 8U) & 0x00ff00ffU;
  bits = (bits | bits << 4U) & 0x0f0f0f0fU;
  return (bits | bits << 2U) & 0x33333333U;
}
/// A lane's word of masks.
constexpr std::uint32_t bitmap_lane_mask(const BitmapRows& rows, int lane) {
  const auto share = [&](int row) {
    const auto shift = static_cast<unsigned>(16 * member_of(lane));
    return static_cast<std::uint32_t>(rows.mask[row] >> shift & 0xffffU);
  };
  return spread_pairs(share(group_of(lane))) | spread_pairs(share(group_of(lane) + 8)) << 2U;
}

/// In each 16 bits the number of ones in them and all below.
constexpr std::uint64_t ones_up_to(std::uint64_t mask) {
  mask -= mask >> 1U & 0x5555555555555555U;
  mask = (mask & 0x3333333333333333U) + (mask >> 2U & 0x3333333333333333U);
  mask = (mask + (mask >> 4U)) & 0x0f0f0f0f0f0f0f0fU;
  mask = (mask + (mask >> 8U)) & 0x00ff00ff00ff00ffU;
  return mask * 0x0001000100010001U;
}

/// Chunks of 16 bytes that a unit takes.
inline std::uint32_t bitmap_unit_chunks(const BitmapRows& rows) {
  std::uint32_t words = 0;  // a byte for each group: at most 32 · 4
  for (int lane = 0; lane < kWarpLanes; ++lane) words += bitmap_words(bitmap_lane_mask(rows, lane));
  words = (words & 0x00ff00ffU) + (words >> 8U & 0x00ff00ffU);
  words = kWarpLanes + (words & 0xffffU) + (words >> 16U);
  return (words + 3) / 4;
}

/// A unit while it is written, in 16-bit codes; pieces of 2 may reach behind its end.
using BitmapUnitCodes = std::uint16_t[BitmapUnit::kLongestBytes / 2 + BitmapWeights::kReadBehind];

/// Writes one unit and moves the rows' values on; returns its bytes.
inline std::size_t pack_bitmap_unit(BitmapRows& rows, BitmapUnitCodes& unit) {
  using U = BitmapUnit;
  const std::uint16_t* next[U::kRows][4];  // value of each lane's part of the row
  for (int row = 0; row < U::kRows; ++row) {
    const std::uint64_t ends = ones_up_to(rows.mask[row]);
    for (int t = 0; t < 4; ++t) {
      next[row][t] = rows.value[row] + (ends << 16U >> static_cast<unsigned>(16 * t) & 0xffffU);
    }
    rows.value[row] += ends >> 48U;
  }
  std::uint32_t mask[kWarpLanes];
  for (int lane = 0; lane < kWarpLanes; ++lane) mask[lane] = bitmap_lane_mask(rows, lane);
  std::memcpy(unit, mask, U::kMaskBytes);
  std::uint16_t* to = unit + U::kMaskBytes / 2;
  const auto copy = [&to](const std::uint16_t*& from, std::uint32_t count) {
    std::memcpy(to, from, 4);
    to += count;
    from += count;
  };
  for (int group = 0; group < U::kGroups; ++group) {
    for (int lane = 0; lane < kWarpLanes; ++lane) {
      const std::uint32_t bits = mask[lane] >> static_cast<unsigned>(8 * group) & 0xffU;
      const std::uint32_t ones = bits - (bits >> 1U & 0x55U);  // of each pair
      const std::uint16_t*& low = next[group_of(lane)][member_of(lane)];
      const std::uint16_t*& high = next[group_of(lane) + 8][member_of(lane)];
      copy(low, ones & 3U);
      copy(high, ones >> 2U & 3U);
      *to = 0;  // whole words: between the halves
      to += (ones ^ ones >> 2U ^ ones >> 4U ^ ones >> 6U) & 1U;
      copy(low, ones >> 4U & 3U);
      copy(high, ones >> 6U);
    }
  }
  while ((to - unit) % (U::kChunkBytes / 2) != 0) *to++ = 0;
  return static_cast<std::size_t>(to - unit) * 2;
}

/// `row_tiles` ≥ ⌈rows / 16⌉ tiles of 16 rows.
inline BitmapPacked pack_bitmap(const BitmapWeights& w, std::int64_t row_tiles, ThreadPool& pool) {
  using U = BitmapUnit;
  const std::int64_t units = (w.columns + U::kColumns - 1) / U::kColumns;
  BitmapPacked packed;
  packed.offset.resize(static_cast<std::size_t>(row_tiles * units) + 1);
  std::uint32_t* offset = packed.offset.data();
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(row_tiles, thread, threads);
    for (std::int64_t at = begin * units; at < end * units; ++at) {
      BitmapRows rows;
      rows.take_masks(w, at / units, at % units);
      offset[at + 1] = bitmap_unit_chunks(rows);
    }
  });
  for (std::int64_t at = 0; at < row_tiles * units; ++at) {
    const int bytes = static_cast<int>(offset[at + 1]) * U::kChunkBytes;
    packed.longest_bytes = std::max(packed.longest_bytes, bytes);
    offset[at + 1] += offset[at];
  }
  packed.words.resize(std::size_t{packed.offset.back()} * (U::kChunkBytes / 4));
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(row_tiles, thread, threads);
    BitmapUnitCodes codes;
    for (std::int64_t tile = begin; tile < end; ++tile) {
      BitmapRows rows;
      for (std::int64_t i = 0; i < U::kRows; ++i) {
        rows.value[i] = w.values + w.offset[std::min(tile * U::kRows + i, w.rows)];
      }
      for (std::int64_t unit = 0; unit < units; ++unit) {
        rows.take_masks(w, tile, unit);
        const std::size_t bytes = pack_bitmap_unit(rows, codes);
        const std::size_t chunk = offset[tile * units + unit];
        std::memcpy(packed.words.data() + chunk * (U::kChunkBytes / 4), codes, bytes);
      }
    }
  });
  return packed;
}

}  // namespace pareto::cuda
