// How a product is cut over threads, blocks and copies, and the workspace that it needs.
#include <algorithm>
#include <array>
#include <numeric>

#include "kernels/l2_bytes.h"
#include "kernels/qgemm/tile_gemm.h"

namespace pareto {
namespace {

// Bytes of W that stay in L2 beside the strips and accumulators: 384 KiB of 1 MiB (half and double
// of it lose 3 to 6 %).
std::int64_t l2_block_bytes() { return l2_bytes() * 3 / 8; }
// A block of one panel stays in L1, or next to it, for a few strips.
constexpr std::int64_t kL1BlockBytes = 32 << 10;
constexpr std::int64_t kFewStrips = 4;
// Accumulators of one block of strips: 512 strips × 6 panels × 1.5 KiB = 4.5 MiB per thread.
constexpr std::int64_t kMostStrips = 512;
// Strips of one copy of x, which is read again for every block of panels: 2 MiB at 4 KiB a row. Of
// all of x at once it would push y and W out of L3.
constexpr std::int64_t kCopiedStrips = 42;

// Up to 4 rows W passes as fast as it can be read. The hardware prefetcher does most of that, and
// one line of two 4 KiB ahead disturbs it least; what may still lie in L2 or L3 goes without.
constexpr int kFewRows = 4;
constexpr TileGemm::Ahead kAheadOfFewRows{1, 4 << 10};
constexpr TileGemm::Ahead kAheadOfManyRows{2, 16 << 10};

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Whether many of `rows` rows meet in one set of L1 (8 ways of 4 KiB), as at multiples of 4 KiB:
// they would drive one another out. Half of the ways are left to W.
bool rows_collide(std::int64_t row_bytes, int rows) {
  std::array<int, 64> lines{};
  for (int i = 0; i < rows; ++i) {
    if (++lines[static_cast<std::size_t>(i * row_bytes / 64 % 64)] > 4) return true;
  }
  return false;
}

}  // namespace

TileGemm::TileGemm(const TileSet& set, std::int64_t M, std::int64_t N, std::int64_t steps,
                   int threads, std::int64_t x_row_bytes)
    : set_(set), M_(M), N_(N), steps_(steps) {
  if (set.row_step_bytes > 0) {
    x_row_bytes_ = x_row_bytes;
    copies_ = in_place() && rows_collide(x_row_bytes, set.max_rows);
  }
  strip_chunks_ = ceil_div(steps, set.strip_steps);
  strips_ = ceil_div(M, set.max_rows);
  if (strips_ > 0) {
    strip_rows_ = M / strips_;
    larger_strips_ = M % strips_;
  }
  panels_ = ceil_div(N, set.columns);
  stays_cached_ = panels_ * panel_bytes() <= 4 * l2_bytes();
  grid_ = thread_grid(strips_, panels_, threads);
  choose_blocks();
  if (!in_place()) a_ = AlignedBuffer<std::byte>(M * strip_chunks_ * set.a_step_bytes);
  scratch_ = AlignedBuffer<std::byte>(threads * scratch_bytes());
}

std::int64_t TileGemm::kept_tiles() const {
  return block_steps_ < steps_ ? block_strips_ * block_panels_ : 1;
}

std::int64_t TileGemm::scratch_bytes() const {
  const std::int64_t tiles = kept_tiles();
  const std::int64_t unpacked =
      set_.unpack == nullptr ? 0 : block_panels_ * block_steps_ * set_.w_step_bytes;
  return ceil_div(tiles * tile_bytes() + unpacked, 64) * 64 + copy_bytes();
}

// A line more than the rows are long, so that copies of rows that collide do not.
std::int64_t TileGemm::copy_row_bytes() const { return ceil_div(x_row_bytes_, 64) * 64 + 64; }
std::int64_t TileGemm::copy_bytes() const {
  return copies_ ? block_strips_ * set_.max_rows * copy_row_bytes() : 0;
}

void TileGemm::choose_blocks() {
  const std::int64_t strips = ceil_div(strips_, grid_.rows);
  const std::int64_t unit = std::lcm(set_.steps_per_packed, set_.strip_steps);
  std::int64_t most = set_.panel_block_bytes / set_.w_step_bytes;
  if (strips <= kFewStrips) {
    // Fused tiles read L2 as fast: with W there, a long block saves their sums the way through c.
    const bool in_l2 = set_.fused[0] != nullptr && stays_cached_;
    most = (in_l2 ? l2_block_bytes() : kL1BlockBytes) / set_.w_step_bytes;
  }
  // A single strip meets every panel once: nothing to keep, unless panels are unpacked ahead.
  if (strips <= 1 && set_.unpack == nullptr && set_.passes == 1) most = steps_;
  most = std::max(most / unit * unit, unit);
  const std::int64_t blocks = std::max<std::int64_t>(1, ceil_div(steps_, most));
  block_steps_ = std::max(ceil_div(ceil_div(steps_, blocks), unit) * unit, unit);
  block_panels_ = 1;
  if (strips > kFewStrips) {
    block_panels_ = std::clamp<std::int64_t>(l2_block_bytes() / (block_steps_ * set_.w_step_bytes),
                                             1, std::max<std::int64_t>(panels_, 1));
  }
  std::int64_t most_strips = kMostStrips;
  if (block_steps_ < steps_ && set_.unpack == nullptr) {
    // The sums that wait for the next block of K share L2 with W; to read W again costs less
    // (fp32 2048^3 on Zen 4: 0.85 of the ceiling without this). Unpacking again would not.
    const std::int64_t kept = l2_bytes() / 4 / tile_bytes();
    most_strips = std::max<std::int64_t>(kept / block_panels_, 1);
  }
  if (copies_) most_strips = std::min(most_strips, kCopiedStrips);
  // Blocks of equal height: a last one of a single strip would fetch W for little.
  const std::int64_t strip_blocks = std::max<std::int64_t>(1, ceil_div(strips, most_strips));
  block_strips_ = std::max<std::int64_t>(1, ceil_div(strips, strip_blocks));
}

// Few strips share the work, so that W arrives at an even rate: two of them fetch one line of two
// each, a block ahead.
TileGemm::Ahead TileGemm::fetch_of(Range strips, std::int64_t strip, int rows) const {
  const std::int64_t count = strips.end - strips.begin;
  if (count <= kFewStrips && stays_cached_) return {};
  if (count == 1 && rows <= kFewRows) return kAheadOfFewRows;
  if (count == 1 || count > kFewStrips) return strip == 0 ? kAheadOfManyRows : Ahead{};
  if (strip > 1) return {};
  const std::int64_t block = block_steps_ * set_.w_step_bytes;
  return {1, ceil_div(kAheadOfManyRows.bytes, block) * block + 64 * strip};
}

}  // namespace pareto
