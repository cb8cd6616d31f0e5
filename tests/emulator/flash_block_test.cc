// The blocks of attention/cuda_flash, thread by thread.
#include "kernels/attention/flash_block.cuh"

#include <gtest/gtest.h>

#include <numbers>
#include <set>
#include <utility>

#include "tests/emulator/attention_case.h"
#include "tests/emulator/block.h"

namespace pareto::emulator {
namespace {

using cuda::FlashPlace;
using cuda::FlashProblem;
using cuda::FlashTile;

FlashProblem problem_of(const AttentionCase& c, std::vector<std::uint16_t>& o,
                        std::vector<float>& lse) {
  const AttentionSizes& s = c.s;
  o.assign(static_cast<std::size_t>(s.rows() * s.dim), 0xabcd);
  lse.assign(static_cast<std::size_t>(s.rows()), -12345);
  return {.q = c.q.data(),
          .k = c.k.data(),
          .v = c.v.data(),
          .o = o.data(),
          .lse = lse.data(),
          .heads = s.batch * s.heads_q,
          .heads_q = s.heads_q,
          .heads_kv = s.heads_kv,
          .seq_q = static_cast<int>(s.seq_q),
          .seq_kv = static_cast<int>(s.seq_kv),
          .offset = static_cast<int>(s.offset()),
          .causal = s.causal,
          .scale_log2 = c.scale * std::numbers::log2e_v<float>};
}

template <typename Tile, bool kBf16, typename LaneType = Lane>
void run(const AttentionCase& c, std::uint64_t seed) {
  std::vector<std::uint16_t> o;
  std::vector<float> lse;
  const FlashProblem p = problem_of(c, o, lse);
  const std::int64_t blocks = c.s.batch * c.s.heads_q * ceil_div(c.s.seq_q, Tile::kRows);
  for (std::int64_t index = 0; index < blocks; ++index) {
    Block block(Tile::kThreads, Tile::kSharedBytes, seed++);
    for (const auto* operand : {&c.q, &c.k, &c.v}) block.allow(*operand);
    block.run([&](Lane& plain) {
      LaneType lane(plain);
      const FlashPlace at = cuda::flash_place(p, index, Tile::kRows);
      cuda::FlashBlock<Tile, kBf16, LaneType> flash(lane, p, at);
      flash.run();
    });
  }
  c.expect_close(o, lse);
}

void expect_close(const AttentionSizes& s, std::uint64_t seed = 1) {
  const AttentionCase c(s);
  if (s.dim == 64) {
    s.bf16 ? run<FlashTile<64>, true>(c, seed) : run<FlashTile<64>, false>(c, seed);
  } else {
    s.bf16 ? run<FlashTile<128>, true>(c, seed) : run<FlashTile<128>, false>(c, seed);
  }
}

TEST(FlashBlock, MatchesTheDefinitionAtEveryEdgeOfItsTiles) {
  for (const std::int64_t keys : {0, 1, 63, 64, 65, 250}) {
    expect_close({.seq_q = 3, .seq_kv = keys});
    expect_close({.seq_q = 17, .seq_kv = keys, .dim = 128, .bf16 = false});
  }
  for (const std::int64_t queries : {1, 127, 128, 129}) {
    expect_close({.seq_q = queries, .seq_kv = 70, .bf16 = false});
  }
}

TEST(FlashBlock, FollowsTheMaskAndTheGroups) {
  expect_close(
      {.batch = 2, .heads_q = 4, .heads_kv = 2, .seq_q = 20, .seq_kv = 40, .causal = true});
  expect_close({.seq_q = 150, .seq_kv = 150, .dim = 128, .causal = true});
  expect_close({.seq_q = 150, .seq_kv = 20, .causal = true});  // the first queries see nothing
  expect_close({.seq_q = 70, .seq_kv = 300, .causal = true, .bf16 = false});
  expect_close({.seq_q = 40, .seq_kv = 130, .causal = true, .top_left = true});
}

TEST(FlashBlock, WorksUnderManySchedules) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    expect_close({.seq_q = 40, .seq_kv = 290, .causal = true}, 100 * seed);
  }
}

// Lanes with a fault each: the emulator must see it, or it proves nothing about the others.
struct WithoutBarriers : Lane {
  explicit WithoutBarriers(const Lane& lane) : Lane(lane) {}
  void barrier() override {}
};
struct WithoutWaiting : Lane {
  explicit WithoutWaiting(const Lane& lane) : Lane(lane) {}
  void wait_until_copied(int pending) override { Lane::wait_until_copied(pending + 1); }
};
TEST(FlashBlock, FaultsAreSeen) {
  const AttentionCase c({.seq_kv = 300});
  EXPECT_THROW((run<FlashTile<64>, true, WithoutBarriers>(c, 1)), Fault);
  EXPECT_THROW((run<FlashTile<64>, true, WithoutWaiting>(c, 1)), Fault);
}

TEST(FlashPlace, EveryTileOfEveryHeadComesOnceTheLongOnesOfAGroupFirst) {
  FlashProblem p{.heads = 14, .heads_q = 14, .heads_kv = 7, .seq_q = 300, .causal = true};
  constexpr int kRows = 128;
  constexpr int kTiles = 3;
  for (const std::int64_t group : {1, 4, 14, 100}) {
    p.group_heads = group;
    std::set<std::pair<std::int64_t, int>> seen;
    int before = kTiles;
    for (std::int64_t block = 0; block < 14 * kTiles; ++block) {
      const FlashPlace at = cuda::flash_place(p, block, kRows);
      const std::int64_t head = at.row / p.seq_q;
      EXPECT_EQ(at.kv_slice, head / 2);
      EXPECT_EQ(head / group, block / (group * kTiles));
      EXPECT_TRUE(seen.emplace(head, at.first_i / kRows).second);
      if (block % (group * kTiles) == 0) before = kTiles;
      EXPECT_LE(at.first_i / kRows, before);
      before = at.first_i / kRows;
    }
    EXPECT_EQ(seen.size(), 14U * kTiles);
  }
}

TEST(FlashPlace, GroupsKeepTheirKeysInL2) {
  FlashProblem p{.heads = 64, .heads_q = 32, .heads_kv = 8, .seq_kv = 2048};
  EXPECT_EQ(cuda::flash_group_heads(p, 128), 64);  // 16 KV heads of 1 MiB
  p.seq_kv = 8192;
  EXPECT_EQ(cuda::flash_group_heads(p, 128), 16);
  p.seq_kv = 1 << 20;
  EXPECT_EQ(cuda::flash_group_heads(p, 128), 4);
  p.heads = p.heads_q = p.heads_kv = 0;
  EXPECT_EQ(cuda::flash_group_heads(p, 128), 1);
}

}  // namespace
}  // namespace pareto::emulator
