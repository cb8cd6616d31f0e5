// W of a CSR layer in chunks of 64 rows × 128 columns, for tiles whose columns of x lie in shared
// memory.
//
// A chunk is 68 words of header, the first 65 of which say in 16-byte units behind the header where
// each row's entries begin and the last row's end; then the entries, column by column: two words
// each, the byte where its column begins in the tile of x, and the value in fp32. A row has an even
// number of entries; the filling is a zero at a column that is always zero, so that nothing of x
// meets it.
//
// Rows stand by descending number of values: a tile's warps then have about as much to do, and the
// longest tiles start first.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>
#include <vector>

namespace pareto::cuda {

struct CsrChunk {
  static constexpr int kRows = 64;
  static constexpr int kColumns = 128;
  static constexpr int kTokens = 64;
  /// Of a column in the tile of x, in floats: 2 more than tokens. The 8 tokens × 4 columns that a
  /// warp stores at once then lie in 32 banks.
  static constexpr int kColumnStride = kTokens + 2;
  static constexpr int kHeaderWords = kRows + 4;
  static constexpr int kLongestBytes = 4 * (kHeaderWords + 2 * kRows * kColumns);

  /// Byte of a column of the tile; column kColumns is zero.
  static constexpr std::uint32_t column_byte(int column) {
    return static_cast<std::uint32_t>(4 * kColumnStride * column);
  }
};

struct CsrPacked {
  std::vector<std::uint32_t> words;
  std::vector<std::uint32_t> offset;  ///< of each chunk in 16-byte units, and the end
  std::vector<std::int32_t> row;      ///< of W at each place, −1 behind the last
  int longest_bytes = 4 * CsrChunk::kHeaderWords;
};

/// One row of W as stored.
struct CsrRow {
  const std::int32_t* column = nullptr;
  const float* value = nullptr;
  std::int64_t length = 0;
};

/// Rows 0 … rows − 1 of W in their order of places: by descending length, of equals the lower
/// first; filled up with −1 to whole chunks.
template <typename RowOf>
std::vector<std::int32_t> csr_places(std::int64_t rows, const RowOf& row_of) {
  const std::int64_t places = (rows + CsrChunk::kRows - 1) / CsrChunk::kRows * CsrChunk::kRows;
  std::vector<std::int32_t> order(static_cast<std::size_t>(places), -1);
  std::iota(order.begin(), order.begin() + rows, 0);
  std::stable_sort(order.begin(), order.begin() + rows, [&](std::int32_t a, std::int32_t b) {
    return row_of(a).length > row_of(b).length;
  });
  return order;
}

/// Chunks row tile by row tile, in each in order of columns; row_of(n) is row n, columns ascending.
template <typename RowOf>
CsrPacked pack_csr(std::int64_t rows, std::int64_t columns, const RowOf& row_of) {
  using C = CsrChunk;
  CsrPacked packed;
  packed.row = csr_places(rows, row_of);
  packed.offset.push_back(0);
  const std::int64_t blocks = (columns + C::kColumns - 1) / C::kColumns;
  for (std::size_t tile = 0; tile < packed.row.size(); tile += C::kRows) {
    std::vector<std::int64_t> done(C::kRows, 0);  // entries of each row
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::size_t begin = packed.words.size();
      packed.words.resize(begin + C::kHeaderWords);
      for (std::size_t r = 0; r < C::kRows; ++r) {
        const std::int32_t n = packed.row[tile + r];
        const CsrRow row = n < 0 ? CsrRow{} : row_of(n);
        while (done[r] < row.length && row.column[done[r]] < (block + 1) * C::kColumns) {
          const auto column = static_cast<int>(row.column[done[r]] - block * C::kColumns);
          packed.words.push_back(C::column_byte(column));
          packed.words.push_back(std::bit_cast<std::uint32_t>(row.value[done[r]]));
          ++done[r];
        }
        if (packed.words.size() % 4 != 0) {
          packed.words.push_back(C::column_byte(C::kColumns));
          packed.words.push_back(0);
        }
        packed.words[begin + r + 1] =
            static_cast<std::uint32_t>((packed.words.size() - begin - C::kHeaderWords) / 4);
      }
      packed.longest_bytes =
          std::max(packed.longest_bytes, static_cast<int>(4 * (packed.words.size() - begin)));
      packed.offset.push_back(static_cast<std::uint32_t>(packed.words.size() / 4));
    }
  }
  return packed;
}

}  // namespace pareto::cuda
