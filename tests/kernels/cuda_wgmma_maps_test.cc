// Hopper's layouts against PTX ISA 9.1 and the CUDA guide's tables of swizzling; exhaustively.
#include "kernels/cuda_wgmma_maps.h"

#include <gtest/gtest.h>

#include <set>

namespace pareto::cuda {
namespace {

constexpr Swizzle kSwizzles[] = {Swizzle::kNone, Swizzle::k32, Swizzle::k64, Swizzle::k128};

TEST(WgmmaMaps, AccumulatorsCoverTheTileAsPtxSays) {
  for (const int n : {8, 64, 136, 256}) {
    std::set<std::pair<int, int>> seen;
    for (int thread = 0; thread < kWarpgroupThreads; ++thread) {
      for (int i = 0; i < n / 2; ++i) {
        const Element e = wgmma_d32(thread, i);
        // "row = groupID of the warp's 16 rows, + 8 for i mod 4 ≥ 2; column = 8·(i / 4) + …"
        EXPECT_EQ(e.row, thread / 32 * 16 + thread % 32 / 4 + (i % 4 >= 2 ? 8 : 0));
        EXPECT_EQ(e.column, i / 4 * 8 + thread % 4 * 2 + i % 2);
        EXPECT_TRUE(seen.insert({e.row, e.column}).second);
      }
    }
    EXPECT_EQ(seen.size(), 64U * static_cast<unsigned>(n));
  }
}

TEST(WgmmaMaps, OperandsInRegistersAreTheWarpsFragments) {
  std::set<std::pair<int, int>> seen16;
  std::set<std::pair<int, int>> seen8;
  for (int thread = 0; thread < kWarpgroupThreads; ++thread) {
    for (int q = 0; q < 4; ++q) {
      for (int part = 0; part < 4; ++part) {
        const Element e = wgmma_a8(thread, q, part);
        EXPECT_EQ(e.row / 16, thread / 32);
        seen8.insert({e.row, e.column});
        if (part < 2) {
          const Element half = wgmma_a16(thread, q, part);
          EXPECT_EQ(half.row, e.row);
          seen16.insert({half.row, half.column});
        }
      }
    }
  }
  EXPECT_EQ(seen16.size(), 64U * 16U);
  EXPECT_EQ(seen8.size(), 64U * 32U);
}

TEST(WgmmaMaps, AccumulatorsOfOneProductAreOperandsOfTheNext) {
  for (int thread = 0; thread < kWarpgroupThreads; ++thread) {
    for (int j = 0; j < 8; ++j) {  // 128 columns of D are 8 blocks of k 16
      for (int q = 0; q < 4; ++q) {
        for (int h = 0; h < 2; ++h) {
          const Element d = wgmma_d32(thread, chained_register(j, q) + h);
          const Element a = wgmma_a16(thread, q, h);
          EXPECT_EQ(d, (Element{a.row, 16 * j + a.column}));
        }
      }
    }
  }
}

// The guide's table for 128 bytes: chunk c of row r of an atom of 8 rows lies at chunk c XOR r; for
// 64 bytes two rows share a line of 128, for 32 bytes four.
TEST(WgmmaMaps, SwizzlesMoveChunksAsTheGuidesTablesSay) {
  for (const Swizzle swizzle : kSwizzles) {
    const int span = span_bytes(swizzle);
    std::set<std::uint32_t> seen;
    for (int byte = 0; byte < 8 * 128; ++byte) {
      const auto address = static_cast<std::uint32_t>(byte);
      const int line = byte / 128;
      const int within = byte % 128;
      const int chunk = within % span / 16;
      int moved = chunk;
      if (swizzle == Swizzle::k128) moved = chunk ^ line;
      if (swizzle == Swizzle::k64) moved = chunk ^ (line % 4);
      if (swizzle == Swizzle::k32) moved = chunk ^ (line % 2);
      const auto want =
          static_cast<std::uint32_t>(line * 128 + within / span * span + moved * 16 + byte % 16);
      EXPECT_EQ(swizzled(address, swizzle), want);
      EXPECT_EQ(swizzled(want, swizzle), address) << "not its own inverse";
      seen.insert(want);
    }
    EXPECT_EQ(seen.size(), 8U * 128U);
  }
}

TEST(WgmmaMaps, TheSwizzleTakesTheAbsoluteAddress) {
  for (std::uint32_t base = 0; base < 16384; base += 1024) {
    EXPECT_EQ(swizzled(base + 0x1a4, Swizzle::k128), base + swizzled(0x1a4, Swizzle::k128));
  }
}

TEST(WgmmaMaps, DescriptorsHaveTheirFieldsWherePtxSays) {
  const std::uint64_t bits =
      encoded({.start = 0x12340, .leading = 0x400, .stride = 1024, .swizzle = Swizzle::k64});
  EXPECT_EQ(bits & 0x3fffU, 0x12340U >> 4U);
  EXPECT_EQ(bits >> 14U & 3U, 0U);
  EXPECT_EQ(bits >> 16U & 0x3fffU, 0x400U >> 4U);
  EXPECT_EQ(bits >> 32U & 0x3fffU, 1024U >> 4U);
  EXPECT_EQ(bits >> 49U & 7U, 0U) << "base offset";
  EXPECT_EQ(bits >> 62U, 2U);
  EXPECT_EQ(encoded({.swizzle = Swizzle::k128}) >> 62U, 1U);
  EXPECT_EQ(encoded({.swizzle = Swizzle::k32}) >> 62U, 3U);
}

// TMA writes a box [rows][span] line by line, swizzled; the product must find its bytes there.
TEST(WgmmaMaps, KMajorDescriptorsFindWhatTmaWrote) {
  constexpr int kRows = 64;
  constexpr std::uint32_t kBase = 3 * 1024;
  for (const Swizzle swizzle : kSwizzles) {
    const int span = span_bytes(swizzle);
    const int panels = swizzle == Swizzle::kNone ? 8 : 1;
    for (int k_byte = 0; k_byte + 32 <= span * panels; k_byte += 32) {
      MatrixDescriptor d = k_major(kBase, kRows, swizzle);
      d.start += static_cast<std::uint32_t>(k_byte / 32) * k_major_step(kRows, swizzle);
      for (int row = 0; row < kRows; ++row) {
        for (int byte = 0; byte < 32; ++byte) {
          const int column = k_byte + byte;
          const auto linear =
              static_cast<std::uint32_t>(column / span * kRows * span + row * span + column % span);
          EXPECT_EQ(k_major_address(d, row, byte), swizzled(kBase + linear, swizzle))
              << span << " " << row << " " << column;
        }
      }
    }
  }
}

// Boxes [depth of k][span of M or N], one panel behind the other.
TEST(WgmmaMaps, MnMajorDescriptorsFindWhatTmaWrote) {
  constexpr int kDepth = 64;
  constexpr int kWidth = 128;
  constexpr std::uint32_t kBase = 2 * 1024;
  for (const Swizzle swizzle : kSwizzles) {
    const int span = span_bytes(swizzle);
    const MatrixDescriptor d = mn_major(kBase, kDepth, swizzle);
    for (int k = 0; k < 16; ++k) {
      for (int mn = 0; mn < kWidth; ++mn) {
        const auto linear =
            static_cast<std::uint32_t>(2 * mn / span * kDepth * span + k * span + 2 * mn % span);
        EXPECT_EQ(mn_major_address(d, k, mn), swizzled(kBase + linear, swizzle))
            << span << " " << k << " " << mn;
      }
    }
  }
}

}  // namespace
}  // namespace pareto::cuda
