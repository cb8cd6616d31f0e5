// The blocks of attention/cuda_decode, thread by thread.
#include "kernels/attention/decode_block.cuh"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/attention/decode_cluster.cuh"
#include "kernels/attention/decode_splits.cuh"
#include "tests/emulator/attention_case.h"
#include "tests/emulator/block.h"

namespace pareto::emulator {
namespace {

using cuda::DecodePartials;
using cuda::DecodePlace;
using cuda::DecodeProblem;
using cuda::DecodeTile;
using cuda::RowEnds;

constexpr std::uint16_t kUnwritten = 0xabcd;

/// The grid of a kernel: every block with a schedule of its own, then the sums over the splits.
template <typename Tile, bool kBf16, typename LaneType = Lane>
struct Decoding {
  const AttentionCase& c;
  DecodeProblem p;
  std::vector<std::uint16_t> o;
  std::vector<float> lse;
  std::vector<float> sums;
  std::vector<RowEnds> ends;

  Decoding(const AttentionCase& attention, std::int64_t split_keys) : c(attention) {
    const AttentionSizes& s = c.s;
    p.q = c.q.data();
    p.k = c.k.data();
    p.v = c.v.data();
    p.rows = s.heads_q / s.heads_kv * s.seq_q;
    p.seq_q = s.seq_q;
    p.seq_kv = s.seq_kv;
    p.key_end = s.visible_end(s.seq_q - 1);
    p.offset = s.offset();
    p.causal = s.causal;
    p.scale_log2 = c.scale * std::numbers::log2e_v<float>;
    p.row_tiles = ceil_div(p.rows, 16);
    p.split_keys = split_keys;
    p.splits = std::max<std::int64_t>(ceil_div(p.key_end, split_keys), 1);
    o.assign(static_cast<std::size_t>(s.rows() * s.dim), kUnwritten);
    lse.assign(static_cast<std::size_t>(s.rows()), -12345);
    const auto parts = static_cast<std::size_t>(s.slices() * p.row_tiles * p.splits * 16);
    sums.resize(parts * Tile::kDim);
    ends.resize(parts);
  }

  void run(std::uint64_t seed) {
    const std::int64_t units = c.s.slices() * p.row_tiles;
    for (std::int64_t index = 0; index < units * p.splits; ++index) run_block(index, seed++);
    if (p.splits == 1) return;
    for (std::int64_t index = 0; index < units * p.splits; ++index) {
      const DecodePlace at = cuda::decode_place(p, index);
      if (at.split == 0) combine(at, seed++);
    }
  }
  void run_block(std::int64_t index, std::uint64_t seed) {
    const DecodePlace at = cuda::decode_place(p, index);
    Block block(Tile::kThreads, Tile::kSharedBytes, seed);
    for (const auto* operand : {&c.q, &c.k, &c.v}) block.allow(*operand);
    block.run([&](Lane& plain) {
      LaneType lane(plain);
      cuda::decode_block<Tile, kBf16>(
          lane, p, at, [&](int row, int column, float sum, const RowEnds& of_row) {
            if (p.splits == 1) {
              store(at, row, column, cuda::row_output(sum, of_row.sum));
              if (column == 0) store_lse(at, row, cuda::row_lse(of_row));
              return;
            }
            const auto part =
                static_cast<std::size_t>(DecodePartials::index(p, at.unit, at.split, row));
            sums[part * Tile::kDim + static_cast<std::size_t>(column)] = sum;
            if (column == 0) ends[part] = of_row;
          });
    });
  }
  void combine(const DecodePlace& at, std::uint64_t seed) {
    Block block(Tile::kThreads, Tile::kSharedBytes, seed);
    block.run([&](Lane& plain) {
      LaneType lane(plain);
      cuda::combine_splits<Tile>(
          lane, p, at, DecodePartials{sums.data(), ends.data()},
          [&](int row, int column, const float(&value)[4]) {
            for (int i = 0; i < 4; ++i) store(at, row, column + i, value[i]);
          },
          [&](int row, float value) { store_lse(at, row, value); });
    });
  }
  [[nodiscard]] std::int64_t row_of(const DecodePlace& at, int row) const {
    return at.slice * p.rows + at.row_tile * 16 + row;
  }
  void store(const DecodePlace& at, int row, int column, float value) {
    std::uint16_t& element = o[static_cast<std::size_t>(row_of(at, row) * Tile::kDim + column)];
    EXPECT_EQ(element, kUnwritten);
    element = c.encoded(value);
  }
  void store_lse(const DecodePlace& at, int row, float value) {
    float& element = lse[static_cast<std::size_t>(row_of(at, row))];
    EXPECT_EQ(element, -12345);
    element = value;
  }
};

template <typename Tile, bool kBf16>
void expect_close(const AttentionCase& c, std::int64_t split_keys, std::uint64_t seed) {
  Decoding<Tile, kBf16> decoding(c, split_keys);
  decoding.run(seed);
  c.expect_close(decoding.o, decoding.lse);
}

void expect_close(const AttentionSizes& s, std::int64_t split_keys, std::uint64_t seed = 1) {
  const AttentionCase c(s);
  if (s.dim == 64) {
    s.bf16 ? expect_close<DecodeTile<64>, true>(c, split_keys, seed)
           : expect_close<DecodeTile<64>, false>(c, split_keys, seed);
  } else {
    s.bf16 ? expect_close<DecodeTile<128>, true>(c, split_keys, seed)
           : expect_close<DecodeTile<128>, false>(c, split_keys, seed);
  }
}

TEST(DecodeBlock, MatchesTheDefinitionAtEveryEdgeOfItsTiles) {
  for (const std::int64_t keys : {0, 1, 15, 16, 17, 63, 64, 65, 200, 330}) {
    expect_close({.seq_kv = keys}, 1024);
    expect_close({.heads_q = 4, .seq_kv = keys, .dim = 128, .bf16 = false}, 64);
  }
}

TEST(DecodeBlock, PacksTheRowsOfAKvHead) {
  expect_close({.batch = 2, .heads_q = 8, .heads_kv = 2, .seq_kv = 100}, 64);
  expect_close({.heads_q = 16, .seq_kv = 70, .dim = 128}, 64);
  expect_close({.heads_q = 17, .seq_kv = 70, .bf16 = false}, 64);
  expect_close({.batch = 2, .heads_q = 6, .heads_kv = 2, .seq_q = 13, .seq_kv = 90}, 64);
}

TEST(DecodeBlock, FollowsTheMask) {
  expect_close({.heads_q = 4, .heads_kv = 2, .seq_q = 5, .seq_kv = 131, .causal = true}, 64);
  // The first queries see no key; keys behind the last query's are NaN.
  expect_close({.heads_q = 2, .seq_q = 9, .seq_kv = 4, .dim = 128, .causal = true}, 64);
  expect_close(
      {.heads_q = 3, .seq_q = 7, .seq_kv = 150, .causal = true, .bf16 = false, .top_left = true},
      64);
}

/// The grid of the kernel whose splits are the blocks of a cluster: what each block has in shared
/// memory when it is done, and the sums of it.
template <typename Tile, bool kBf16>
struct ClusterDecoding : Decoding<Tile, kBf16> {
  using Part = cuda::DecodeClusterPart<Tile>;
  using Decoding<Tile, kBf16>::c;
  using Decoding<Tile, kBf16>::p;

  ClusterDecoding(const AttentionCase& attention, const DecodeSplits& splits)
      : Decoding<Tile, kBf16>(attention, splits.keys) {
    p.splits = splits.count;
  }
  void run_clusters(std::uint64_t seed) {
    for (std::int64_t unit = 0; unit < c.s.slices() * p.row_tiles; ++unit) {
      std::vector<std::vector<float>> parts;
      for (std::int64_t split = 0; split < p.splits; ++split) {
        parts.push_back(part(cuda::decode_cluster_place(p, unit * p.splits + split), seed++));
      }
      for (std::int64_t split = 0; split < p.splits; ++split) {
        share(cuda::decode_cluster_place(p, unit * p.splits + split), parts, seed++);
      }
    }
  }
  /// By word of shared memory from the start; rows that do not exist are NaN.
  std::vector<float> part(const DecodePlace& at, std::uint64_t seed) {
    std::vector<float> words(Part::value(Tile::kRows, 0) / 4, std::nanf(""));
    Block block(Tile::kThreads, Tile::kSharedBytes, seed);
    for (const auto* operand : {&c.q, &c.k, &c.v}) block.allow(*operand);
    block.run([&](Lane& lane) {
      cuda::decode_block<Tile, kBf16>(lane, p, at,
                                      [&](int row, int column, float sum, const RowEnds& ends) {
                                        Part::store(lane, row, column, sum, ends);
                                      });
      lane.barrier();
      if (lane.thread() != 0) return;
      for (int row = 0; row < cuda::decode_rows(p, at.row_tile); ++row) {
        for (const std::uint32_t offset : {Part::maximum(row), Part::sum(row)}) {
          words[offset / 4] = lane.load_shared(offset);
        }
        for (int column = 0; column < Tile::kDim; ++column) {
          const std::uint32_t offset = Part::value(row, column);
          words[offset / 4] = lane.load_shared(offset);
        }
      }
    });
    return words;
  }
  void share(const DecodePlace& at, const std::vector<std::vector<float>>& parts,
             std::uint64_t seed) {
    Block block(Tile::kThreads, 0, seed);
    block.run([&](Lane& lane) {
      cuda::combine_cluster<Tile>(
          lane, p, at,
          [&](int split, std::uint32_t offset) {
            return parts[static_cast<std::size_t>(split)][offset / 4];
          },
          [&](int row, int column, float value) { this->store(at, row, column, value); },
          [&](int row, float value) { this->store_lse(at, row, value); });
    });
  }
};

template <typename Tile, bool kBf16>
void expect_clusters_close(const AttentionSizes& s, int blocks) {
  const AttentionCase c(s);
  const DecodeSplits splits = decode_splits_of(s.visible_end(s.seq_q - 1), blocks);
  ASSERT_EQ(splits.count, blocks) << s.text();
  ClusterDecoding<Tile, kBf16> decoding(c, splits);
  decoding.run_clusters(1);
  c.expect_close(decoding.o, decoding.lse);
}

TEST(DecodeCluster, SumsItsSplits) {
  expect_clusters_close<DecodeTile<64>, true>({.seq_kv = 200}, 4);
  expect_clusters_close<DecodeTile<64>, false>(
      {.heads_q = 4, .heads_kv = 2, .seq_kv = 500, .bf16 = false}, 8);
  expect_clusters_close<DecodeTile<128>, true>({.heads_q = 4, .seq_kv = 961, .dim = 128}, 16);
  expect_clusters_close<DecodeTile<128>, false>({.batch = 2,
                                                 .heads_q = 6,
                                                 .heads_kv = 2,
                                                 .seq_q = 13,
                                                 .seq_kv = 250,
                                                 .dim = 128,
                                                 .causal = true,
                                                 .bf16 = false},
                                                4);
}

TEST(DecodeCluster, GivesRowsWithoutKeysNothing) {
  expect_clusters_close<DecodeTile<64>, true>(
      {.heads_q = 2, .seq_q = 9, .seq_kv = 250, .causal = true, .top_left = true}, 1);
  expect_clusters_close<DecodeTile<64>, true>({.seq_q = 16, .seq_kv = 15, .causal = true}, 1);
}

TEST(DecodeBlock, WorksUnderManySchedules) {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    expect_close({.heads_q = 2, .seq_q = 2, .seq_kv = 300, .causal = true}, 320, 100 * seed);
  }
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
template <typename LaneType>
void run_faulty() {
  const AttentionCase c({.seq_kv = 300});
  Decoding<DecodeTile<64>, true, LaneType>(c, 320).run(1);
}
TEST(DecodeBlock, FaultsAreSeen) {
  EXPECT_THROW(run_faulty<WithoutWarpBarriers>(), Fault);
  EXPECT_THROW(run_faulty<WithoutBarriers>(), Fault);
  EXPECT_THROW(run_faulty<WithoutWaiting>(), Fault);
}

TEST(DecodeSplits, CoverTheKeysWithoutAnEmptyOne) {
  for (const std::int64_t units : {1, 8, 100, 128, 1000}) {
    for (const std::int64_t keys : {1, 63, 64, 65, 1000, 2048, 8192, 131072}) {
      const DecodeSplits splits = decode_splits(units, keys, 132);
      EXPECT_EQ(splits.keys % DecodeTile<64>::kBlockKeys, 0);
      EXPECT_GE(splits.count * splits.keys, keys);
      EXPECT_LT((splits.count - 1) * splits.keys, keys);
      EXPECT_LE(splits.count, cuda::kDecodeSplits);
    }
  }
  EXPECT_EQ(decode_splits(8, 0, 132).count, 1);
}

TEST(DecodeSplits, CandidatesDiffer) {
  for (const std::int64_t units : {1, 8, 128, 1000}) {
    for (const std::int64_t keys : {0, 1, 100, 2048, 8192, 131072}) {
      const std::vector<DecodeSplits> all = decode_candidates(units, keys, 132, 16);
      EXPECT_LE(all.size(), 8U);
      EXPECT_EQ(all.front(), decode_splits(units, keys, 132));
      for (std::size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(std::count(all.begin(), all.end(), all[i]), 1);
        EXPECT_GE(all[i].count * all[i].keys, keys);
        EXPECT_TRUE(!all[i].clustered || keys > (all[i].count - 1) * all[i].keys);
      }
    }
  }
  EXPECT_EQ(decode_candidates(8, 2048, 132, 0).size(), 3U);   // 16, 32, 8 splits
  EXPECT_EQ(decode_candidates(8, 2048, 132, 16).size(), 6U);  // and clusters of 4, 8, 16
}

TEST(DecodeSplits, FillTheDevice) {
  EXPECT_EQ(decode_splits(8, 2048, 132).count, 16);
  EXPECT_EQ(decode_splits(128, 8192, 264).count, 2);
  EXPECT_EQ(decode_splits(1056, 8192, 132).count, 1);
}

}  // namespace
}  // namespace pareto::emulator
