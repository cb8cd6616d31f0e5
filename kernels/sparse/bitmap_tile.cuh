// One tile of y = x · Wᵀ by a block of warps that read W in units of a bitmap and its values
// (bitmap_units.h) and multiply dense fragments. Written once, for the device and for the host
// emulator: a `Lane` is one thread with its intrinsics (sparse_lane.cuh).
//
// The block's tile is 32 rows of W and 8 · kBlocks tokens. The columns are shared out over the
// warps; each has a ring of stages in shared memory of its own, which holds both row tiles' units
// of one block of 64 columns, and waits for nobody else. At the end the warps' sums are added, in
// pairs.
//
// Expanding a unit: the words that each lane's values take are counted in four bytes at once and
// summed up over the lanes in one scan; a lane's share then begins and ends at known words, and
// each half of its fragment comes from 2 words, by selectors from a table of 16 entries.
#pragma once

#include <cstdint>

#include "kernels/sparse/bitmap_units.h"
#include "kernels/sparse/warp_shares.cuh"

namespace pareto::cuda {

/// y[M,N] = x[M,K] · W[N,K]ᵀ; x in 16-bit codes, W packed in rows of ⌈N/32⌉·2 tiles.
struct BitmapProblem {
  std::int64_t M = 0;
  std::int64_t N = 0;
  std::int64_t K = 0;
  std::int64_t units = 0;                 ///< of a row tile
  const std::uint16_t* x = nullptr;       ///< [M,K]
  const std::uint32_t* words = nullptr;   ///< 16-byte aligned
  const std::uint32_t* offset = nullptr;  ///< BitmapPacked
  int stage_bytes = 0;                    ///< of the longest unit
};

/// kCountBlocks: blocks of 8 tokens. Warps and stages are open to measurement.
template <int kCountBlocks, int kCountWarps = 8, int kCountStages = 4>
struct BitmapTile {
  static constexpr int kBlocks = kCountBlocks;
  static constexpr int kWarps = kCountWarps;
  static constexpr int kThreads = kWarps * kWarpLanes;
  static constexpr int kRowTiles = 2;
  static constexpr int kRows = kRowTiles * BitmapUnit::kRows;
  static constexpr int kTokens = 8 * kBlocks;
  static constexpr int kStages = kCountStages;
  static constexpr int kTableBytes = 2 * 16 * 4;  ///< selectors of front and back
  static constexpr int kBehindBytes = 16;  ///< that the last lane may look at behind its unit

  /// With stages of so many bytes: the sums lie where the stages were.
  static constexpr int shared_bytes(int stage_bytes) {
    const int ring = kWarps * kStages * kRowTiles * stage_bytes + kBehindBytes;
    return kTableBytes + (ring > sum_bytes<BitmapTile>() ? ring : sum_bytes<BitmapTile>());
  }
};

/// One warp's work: its share of the columns, its ring.
template <typename Lane, typename T>
class BitmapWarp {
  using U = BitmapUnit;
  static constexpr int kBlocks = T::kBlocks;

 public:
  __device__ BitmapWarp(Lane& lane, const BitmapProblem& p, std::int64_t row_tile,
                        std::int64_t token)
      : lane_(lane),
        p_(p),
        l_(lane.thread() % kWarpLanes),
        warp_(lane.thread() / kWarpLanes),
        aligned_(p.K % 8 == 0),
        end_(static_cast<int>(p.units * (warp_ + 1) / T::kWarps)),
        next_(static_cast<int>(p.units * warp_ / T::kWarps)) {
    for (int i = 0; i < T::kRowTiles; ++i) {
      offset_[i] = p.offset + (row_tile + i) * p.units;
      // The next unit to be copied begins at begin_ and ends at finish_.
      begin_[i] = next_ < end_ ? offset_[i][next_] : 0;
      finish_[i] = next_ < end_ ? offset_[i][next_ + 1] : 0;
    }
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) {
      const std::int64_t m = token + 8 * b + group_of(l_);
      x_[b] = m < p.M ? p.x + m * p.K : nullptr;
    }
  }

  /// This warp's sums over its share of the columns.
  __device__ void run(float (&sum)[T::kRowTiles][kBlocks][4]) {
    int unit = next_;
#pragma unroll
    for (int s = 0; s < T::kStages - 1; ++s) copy(s);
    int stage = 0;
    for (; unit < end_; ++unit) {
      TokenChunk x[2][kBlocks];
      if constexpr (kBlocks <= 4) load(x[0], unit, 0), load(x[1], unit, 1);
      lane_.template wait_copies<T::kStages - 2>();
      // After it the unit is there for the warp, and the last one's stage is free.
      lane_.warp_barrier();
      copy(stage == 0 ? T::kStages - 1 : stage - 1);
      multiply(stage, unit, x, sum);
      stage = stage + 1 == T::kStages ? 0 : stage + 1;
    }
    lane_.template wait_copies<0>();
  }

 private:
  __device__ std::uint32_t place(int stage, int row_tile) const {
    return static_cast<std::uint32_t>(
        T::kTableBytes + ((warp_ * T::kStages + stage) * T::kRowTiles + row_tile) * p_.stage_bytes);
  }

  // Starts the copies of the next unit, if there is one.
  __device__ void copy(int stage) {
    if (next_ < end_) {
#pragma unroll
      for (int i = 0; i < T::kRowTiles; ++i) {
        lane_.template copy_chunks<U::kLongestBytes / U::kChunkBytes>(
            place(stage, i), p_.words + std::int64_t{begin_[i]} * 4,
            static_cast<int>(finish_[i] - begin_[i]));
        begin_[i] = finish_[i];
        if (next_ + 1 < end_) finish_[i] = offset_[i][next_ + 2];
      }
      ++next_;
    }
    lane_.commit_copies();
  }

  // x of groups 2·half and 2·half + 1, as fragments B.
  __device__ void load(TokenChunk (&x)[kBlocks], int unit, int half) {
    const std::int64_t k = std::int64_t{unit} * U::kColumns + 16 * member_of(l_) + 8 * half;
#pragma unroll
    for (int b = 0; b < kBlocks; ++b) x[b] = load_tokens(x_[b], k, p_.K, aligned_);
  }

  // Where each lane's shares of the four groups begin and end, in words behind the masks.
  struct Shares {
    std::uint32_t mask;
    std::uint32_t begin;  ///< within its group, a byte for each
    std::uint32_t end;
    std::uint32_t all;  ///< of the group
  };
  __device__ Shares shares(std::uint32_t unit) {
    Shares s;
    s.mask = lane_.load_word(unit + 4 * static_cast<std::uint32_t>(l_));
    const std::uint32_t own = bitmap_words(s.mask);
    s.end = own;
#pragma unroll
    for (int distance = 1; distance < kWarpLanes; distance *= 2) {
      s.end = lane_.add_below(s.end, distance);
    }
    s.begin = s.end - own;
    s.all = lane_.of_last_lane(s.end);
    return s;
  }

  // Fragment A of one group, whose words begin at `words`: then moved on to the next group's.
  __device__ void expand(const Shares& s, int group, std::uint32_t& words, std::uint32_t (&a)[4]) {
    const std::uint32_t bits = s.mask >> 8 * group;
    const std::uint32_t front = lane_.load_word((bits & 15U) * 4);
    const std::uint32_t back = lane_.load_word((bits >> 4U & 15U) * 4 + T::kTableBytes / 2);
    const std::uint32_t pick = std::uint32_t{4} << 8 * group;  // four times the byte of the group
    const std::uint32_t begin = lane_.add_byte_products(s.begin, pick, words);
    const std::uint32_t end = lane_.add_byte_products(s.end, pick, words);
    words = lane_.add_byte_products(s.all, pick, words);
    const std::uint32_t first = lane_.peek_word(begin);
    const std::uint32_t second = lane_.peek_word(begin + 4);
    const std::uint32_t before = lane_.peek_word(end - 8);
    const std::uint32_t last = lane_.peek_word(end - 4);
    a[0] = lane_.permute_bytes(first, 0, front);
    a[1] =
        lane_.permute_bytes(first, second, front >> 16U) & kept(s.mask, spread_bits(group, false));
    a[2] = lane_.permute_bytes(before, last, back >> 16U) & kept(s.mask, spread_bits(group, true));
    a[3] = lane_.permute_bytes(last, 0, back);
  }
  __device__ std::uint32_t kept(std::uint32_t mask, const SpreadBits& spread) const {
    return lane_.permute_bytes(mask << spread.shift, mask << (spread.shift - 1), spread.selectors);
  }

  __device__ void multiply(int stage, int unit, TokenChunk (&x)[2][kBlocks],
                           float (&sum)[T::kRowTiles][kBlocks][4]) {
    Shares s[T::kRowTiles];
    std::uint32_t words[T::kRowTiles];
#pragma unroll
    for (int i = 0; i < T::kRowTiles; ++i) {
      s[i] = shares(place(stage, i));
      words[i] = place(stage, i) + U::kMaskBytes;
    }
#pragma unroll
    for (int group = 0; group < U::kGroups; ++group) {
      if constexpr (kBlocks > 4) {
        if (group % 2 == 0) load(x[group / 2], unit, group / 2);
      }
#pragma unroll
      for (int i = 0; i < T::kRowTiles; ++i) {
        std::uint32_t a[4];
        expand(s[i], group, words[i], a);
#pragma unroll
        for (int b = 0; b < kBlocks; ++b) {
          const TokenChunk& chunk = x[group / 2][b];
          lane_.multiply(sum[i][b], a, chunk.pair[group % 2 * 2], chunk.pair[group % 2 * 2 + 1]);
        }
      }
    }
  }

  Lane& lane_;
  const BitmapProblem& p_;
  int l_;
  int warp_;
  bool aligned_;
  int end_;
  int next_;                         ///< unit to be copied
  const std::uint16_t* x_[kBlocks];  ///< the rows of this lane's tokens, null behind the last
  const std::uint32_t* offset_[T::kRowTiles];
  std::uint32_t begin_[T::kRowTiles];
  std::uint32_t finish_[T::kRowTiles];
};

template <typename Lane>
__device__ void fill_expand_table(Lane& lane) {
  const int entry = lane.thread();
  if (entry < 32) {
    const auto bits = static_cast<unsigned>(entry % 16);
    lane.store_word(static_cast<std::uint32_t>(4 * entry),
                    entry < 16 ? expand_front(bits) : expand_back(bits));
  }
}

/// The whole tile, from row tile `row_tile` (even) and token `token` on: calls store(token, row,
/// sum) for this thread's elements inside of y.
template <typename T, typename Lane, typename Store>
__device__ void bitmap_tile(Lane& lane, const BitmapProblem& p, std::int64_t row_tile,
                            std::int64_t token, const Store& store) {
  constexpr int kBlocks = T::kBlocks;
  fill_expand_table(lane);
  lane.barrier();
  float sum[T::kRowTiles][kBlocks][4] = {};
  BitmapWarp<Lane, T>(lane, p, row_tile, token).run(sum);
  lane.barrier();  // all units have been read
  store_sums_of_warps<T>(lane, sum, T::kTableBytes, {p.M, p.N}, row_tile * BitmapUnit::kRows, token,
                         store);
}

}  // namespace pareto::cuda
