// Fragments of warp-level products against the formulas of PTX ISA 9.1, which number the elements
// a0, a1, … that a thread holds; all lanes, all elements.
#include "kernels/cuda_mma_maps.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace pareto::cuda {
namespace {

using Pair = std::pair<int, int>;

template <typename Map>
std::set<Pair> covered(int lanes, int registers, int parts, const Map& map) {
  std::set<Pair> seen;
  for (int lane = 0; lane < lanes; ++lane) {
    for (int q = 0; q < registers; ++q) {
      for (int part = 0; part < parts; ++part) {
        const Element e = map(lane, q, part);
        EXPECT_TRUE(seen.insert({e.row, e.column}).second) << lane << " " << q << " " << part;
      }
    }
  }
  return seen;
}

void expect_all(const std::set<Pair>& seen, int rows, int columns) {
  EXPECT_EQ(seen.size(), static_cast<std::size_t>(rows * columns));
  EXPECT_EQ(*seen.begin(), Pair(0, 0));
  EXPECT_EQ(*seen.rbegin(), Pair(rows - 1, columns - 1));
}

TEST(MmaMaps, M16n8k16A) {
  expect_all(covered(32, 4, 2, mma_a16), 16, 16);
  for (int lane = 0; lane < 32; ++lane) {
    const int group_id = lane >> 2;
    const int thread_in_group = lane % 4;
    for (int i = 0; i < 8; ++i) {
      const int row = i < 2 || (i >= 4 && i < 6) ? group_id : group_id + 8;
      const int column = thread_in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
      EXPECT_EQ(mma_a16(lane, i / 2, i % 2), (Element{row, column}));
    }
  }
}

TEST(MmaMaps, M16n8k16B) {
  expect_all(covered(32, 2, 2, mma_b16), 16, 8);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane % 4 * 2 + (i & 1) + (i < 2 ? 0 : 8);
      EXPECT_EQ(mma_b16(lane, i / 2, i % 2), (Element{row, lane >> 2}));
    }
  }
}

TEST(MmaMaps, M16n8k32A) {
  expect_all(covered(32, 4, 4, mma_a8), 16, 32);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 16; ++i) {
      const int row = i < 4 || (i >= 8 && i < 12) ? lane >> 2 : (lane >> 2) + 8;
      const int column = lane % 4 * 4 + (i & 3) + (i < 8 ? 0 : 16);
      EXPECT_EQ(mma_a8(lane, i / 4, i % 4), (Element{row, column}));
    }
  }
}

TEST(MmaMaps, M16n8k32B) {
  expect_all(covered(32, 2, 4, mma_b8), 32, 8);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 8; ++i) {
      const int row = lane % 4 * 4 + (i & 3) + (i < 4 ? 0 : 16);
      EXPECT_EQ(mma_b8(lane, i / 4, i % 4), (Element{row, lane >> 2}));
    }
  }
}

TEST(MmaMaps, M16n8D) {
  expect_all(covered(32, 4, 1, [](int lane, int i, int) { return mma_d32(lane, i); }), 16, 8);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? lane >> 2 : (lane >> 2) + 8;
      EXPECT_EQ(mma_d32(lane, i), (Element{row, lane % 4 * 2 + (i & 1)}));
    }
  }
}

// The table under ldmatrix: thread 0 holds elements 0 and 1 of row 0, thread 1 elements 2 and 3, …,
// thread 31 elements 6 and 7 of row 7.
TEST(MmaMaps, LdmatrixGivesEveryThreadTwoNeighboursOfARow) {
  int thread = 0;
  for (int row = 0; row < 8; ++row) {
    for (int column = 0; column < 8; column += 2, ++thread) {
      EXPECT_EQ(ldmatrix(thread, 0), (Element{row, column}));
      EXPECT_EQ(ldmatrix(thread, 1), (Element{row, column + 1}));
      EXPECT_EQ(ldmatrix_transposed(thread, 0), (Element{column, row}));
      EXPECT_EQ(ldmatrix_transposed(thread, 1), (Element{column + 1, row}));
    }
  }
}

// What ldmatrix.x4 brings into register q and half h of a lane: the element of the row that lane
// 8q + r points to.
template <typename Address, typename Inside>
Element brought(const Address& address, const Inside& inside, int lane, int q, int h) {
  const Element in_matrix = inside(lane, h);
  const RowChunk at = address(8 * q + in_matrix.row);
  return {at.row, 8 * at.chunk + in_matrix.column};
}

TEST(MmaMaps, LdmatrixBringsATileAsAWantsIt) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int q = 0; q < 4; ++q) {
      for (int h = 0; h < 2; ++h) {
        EXPECT_EQ(brought(ldmatrix_a, ldmatrix, lane, q, h), mma_a16(lane, q, h));
      }
    }
  }
}

TEST(MmaMaps, LdmatrixBringsBytesAsAWantsThem) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int q = 0; q < 4; ++q) {
      for (int byte = 0; byte < 4; ++byte) {
        const Element pair = brought(ldmatrix_a, ldmatrix, lane, q, byte / 2);
        EXPECT_EQ((Element{pair.row, 2 * pair.column + byte % 2}), mma_a8(lane, q, byte));
      }
    }
  }
}

TEST(MmaMaps, LdmatrixBringsRowsOfWAsBWantsThem) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int q = 0; q < 4; ++q) {
      for (int h = 0; h < 2; ++h) {
        const Element b = mma_b16(lane, q % 2, h);
        const Element stored{b.column + 8 * (q / 2), b.row};  // [n][k]
        EXPECT_EQ(brought(ldmatrix_b, ldmatrix, lane, q, h), stored);
      }
    }
  }
}

TEST(MmaMaps, TransposedLdmatrixBringsRowsOfKAsBWantsThem) {
  for (int lane = 0; lane < 32; ++lane) {
    for (int q = 0; q < 4; ++q) {
      for (int h = 0; h < 2; ++h) {
        const Element b = mma_b16(lane, q % 2, h);
        const Element stored{b.row, b.column + 8 * (q / 2)};  // [k][n]
        EXPECT_EQ(brought(ldmatrix_b_transposed, ldmatrix_transposed, lane, q, h), stored);
      }
    }
  }
}

TEST(MmaMaps, BBesideASparseAIsTwoOfK16) {
  expect_all(covered(32, 4, 2, sparse_mma_b16), 32, 8);
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 8; ++i) {
      const int row = lane % 4 * 2 + (i & 1) + i / 2 * 8;
      EXPECT_EQ(sparse_mma_b16(lane, i / 2, i % 2), (Element{row, lane >> 2}));
    }
  }
}

TEST(MmaMaps, Metadata16CoversEveryWindowOnce) {
  for (int selector = 0; selector < 2; ++selector) {
    std::set<Pair> seen;
    int lanes = 0;
    for (int lane = 0; lane < 32; ++lane) {
      if (!supplies_metadata16(lane, selector)) continue;
      ++lanes;
      for (int nibble = 0; nibble < 8; ++nibble) {
        const SparseWindow w = metadata16(lane, nibble);
        EXPECT_TRUE(seen.insert({w.row, w.window}).second);
      }
    }
    EXPECT_EQ(lanes, 16);
    expect_all(seen, 16, 8);
  }
}

TEST(MmaMaps, Metadata8CoversEveryWindowOnce) {
  expect_all(covered(32, 8, 1,
                     [](int lane, int nibble, int) {
                       const SparseWindow w = metadata8(lane, nibble);
                       return Element{w.row, w.window};
                     }),
             16, 16);
}

// PTX: an index pair is encoded in four bits, the smaller index in the lower two; of two 16-bit
// elements of four only 0100, 1000, 1001, 1100, 1101 and 1110 are legal.
TEST(MmaMaps, MetadataNibblesAreTheSixLegalOnes) {
  std::set<unsigned> nibbles;
  for (int first = 0; first < 4; ++first) {
    for (int second = first + 1; second < 4; ++second) {
      nibbles.insert(metadata_nibble(first, second));
    }
  }
  EXPECT_EQ(nibbles, (std::set<unsigned>{0b0100, 0b1000, 0b1001, 0b1100, 0b1101, 0b1110}));
}

// A sparse product through the maps alone equals the product with the dense matrix.
TEST(MmaMaps, SparseFragmentsAndMetadataDescribeTheDenseMatrix) {
  constexpr int kRows = 16;
  constexpr int kK = 32;
  std::vector<int> dense(kRows * kK, 0);
  const auto kept = [](int row, int window, int which) {
    constexpr int kPairs[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};
    return kPairs[(row * 5 + window) % 6][which];
  };
  for (int row = 0; row < kRows; ++row) {
    for (int window = 0; window < kK / 4; ++window) {
      for (int which = 0; which < 2; ++which) {
        dense[row * kK + 4 * window + kept(row, window, which)] =
            1 + row * 100 + 2 * window + which;
      }
    }
  }
  // As a kernel would: metadata into lanes by the map, values into registers by mma_a16.
  unsigned metadata[32] = {};
  for (int lane = 0; lane < 32; ++lane) {
    for (int nibble = 0; nibble < 8; ++nibble) {
      const SparseWindow w = metadata16(lane, nibble);
      metadata[lane] |= metadata_nibble(kept(w.row, w.window, 0), kept(w.row, w.window, 1))
                        << (4 * nibble);
    }
  }
  std::vector<int> expanded(kRows * kK, 0);
  for (int lane = 0; lane < 32; ++lane) {
    for (int q = 0; q < 4; ++q) {
      for (int h = 0; h < 2; ++h) {
        const Element compressed = mma_a16(lane, q, h);
        const int window = compressed.column / 2;
        // Row g's metadata: low half of the lanes of group g; windows 0 … 3 from member 0.
        const int holder = compressed.row % 8 * 4 + window / 4;
        const unsigned nibble =
            metadata[holder] >> (16 * (compressed.row / 8) + 4 * (window % 4)) & 0xfU;
        const int index = static_cast<int>(compressed.column % 2 == 0 ? nibble & 3U : nibble >> 2U);
        expanded[compressed.row * kK + 4 * window + index] =
            1 + compressed.row * 100 + 2 * window + compressed.column % 2;
      }
    }
  }
  EXPECT_EQ(expanded, dense);
}

}  // namespace
}  // namespace pareto::cuda
