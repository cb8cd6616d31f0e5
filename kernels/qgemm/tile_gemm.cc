#include "kernels/qgemm/tile_gemm.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <numeric>

namespace pareto {
namespace {

// Bytes of W that stay in L2 beside the strips and accumulators: 384 KiB of 1 MiB (half and double
// of it lose 3 to 6 %).
std::int64_t l2_bytes() {
  static const std::int64_t bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 1 << 20;
}
std::int64_t l2_block_bytes() { return l2_bytes() * 3 / 8; }
// A block of one panel stays in L1, or next to it, for a few strips.
constexpr std::int64_t kL1BlockBytes = 32 << 10;
constexpr std::int64_t kFewStrips = 4;
// Accumulators of one block of strips: 512 strips × 6 panels × 1.5 KiB = 4.5 MiB per thread.
constexpr std::int64_t kMostStrips = 512;
// Strips of one copy of x, which is read again for every block of panels: 2 MiB at 4 KiB a row. Of
// all of x at once it would push y and W out of L3.
constexpr std::int64_t kCopiedStrips = 42;
// Unpacking a panel costs as much as half a strip of small tiles.
constexpr std::int64_t kLeastStrips = 16;

// Up to 4 rows W passes as fast as it can be read. The hardware prefetcher does most of that, and
// one line of two 4 KiB ahead disturbs it least; what may still lie in L2 or L3 goes without.
constexpr int kFewRows = 4;
constexpr TileGemm::Ahead kAheadOfFewRows{1, 4 << 10};
constexpr TileGemm::Ahead kAheadOfManyRows{2, 16 << 10};

// What a fused tile finishes itself.
bool is_plain(const Epilogue& e) {
  return e.y.dtype == DType::kF32 &&
         (e.activation == Activation::kNone || e.activation == Activation::kRelu) &&
         e.acc == nullptr && e.row_zero == nullptr;
}

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
  choose_grid(threads);
  choose_blocks();
  if (!in_place()) a_ = AlignedBuffer<std::byte>(M * strip_chunks_ * set.a_step_bytes);
  scratch_ = AlignedBuffer<std::byte>(threads * scratch_bytes());
}

TileGemm::Strip TileGemm::strip(std::int64_t s) const {
  return {s * strip_rows_ + std::min(s, larger_strips_),
          static_cast<int>(strip_rows_ + (s < larger_strips_ ? 1 : 0))};
}

std::byte* TileGemm::strip_data(std::int64_t s) {
  return a_.data() + strip(s).row * strip_chunks_ * set_.a_step_bytes;
}

std::int64_t TileGemm::panel_bytes() const {
  return set_.unpack == nullptr ? steps_ * set_.w_step_bytes
                                : steps_ / set_.steps_per_packed * set_.packed_step_bytes;
}

std::int64_t TileGemm::tile_bytes() const {
  return std::int64_t{set_.max_rows} * set_.columns * std::int64_t{sizeof(float)};
}

std::int64_t TileGemm::scratch_bytes() const {
  const std::int64_t tiles = block_steps_ >= steps_ ? 1 : block_strips_ * block_panels_;
  const std::int64_t unpacked =
      set_.unpack == nullptr ? 0 : block_panels_ * block_steps_ * set_.w_step_bytes;
  return ceil_div(tiles * tile_bytes() + unpacked, 64) * 64 + copy_bytes();
}

// A line more than the rows are long, so that copies of rows that collide do not.
std::int64_t TileGemm::copy_row_bytes() const { return ceil_div(x_row_bytes_, 64) * 64 + 64; }
std::int64_t TileGemm::copy_bytes() const {
  return copies_ ? block_strips_ * set_.max_rows * copy_row_bytes() : 0;
}

// Threads form a grid over strips and panels that leaves the slowest one the fewest tiles; of equal
// ones the grid with most columns, which reads W once.
void TileGemm::choose_grid(int threads) {
  std::int64_t best = -1;
  for (int rows = 1; rows <= threads; ++rows) {
    const int columns = threads / rows;
    const std::int64_t slowest = ceil_div(strips_, rows) * ceil_div(panels_, columns);
    if (best < 0 || slowest < best) {
      best = slowest;
      grid_rows_ = rows;
      grid_columns_ = columns;
    }
  }
}

void TileGemm::choose_blocks() {
  const std::int64_t strips = ceil_div(strips_, grid_rows_);
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
    if (set_.small) block_panels_ = 1;
  }
  std::int64_t most_strips = kMostStrips;
  if (block_steps_ < steps_ && set_.unpack == nullptr) {
    // The sums that wait for the next block of K share L2 with W; to read W again costs less
    // (fp32 2048^3 on Zen 4: 0.85 of the ceiling without this). Unpacking again would not.
    most_strips = std::max<std::int64_t>(l2_bytes() / 4 / (block_panels_ * tile_bytes()), 1);
  }
  if (set_.small) {
    const std::int64_t strip_bytes = set_.max_rows * strip_chunks_ * set_.a_step_bytes;
    most_strips = std::max(l2_bytes() / 2 / std::max<std::int64_t>(strip_bytes, 1), kLeastStrips);
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

void TileGemm::multiply(const std::byte* w, const Epilogue& epilogue, ThreadPool& pool,
                        const std::byte* x) {
  if (M_ == 0 || N_ == 0) return;
  x_ = x;
  pool.run([&](int thread, int /*threads*/) {
    if (thread >= grid_rows_ * grid_columns_) return;
    const auto [s0, s1] = share_of(strips_, thread / grid_columns_, grid_rows_);
    const auto [p0, p1] = share_of(panels_, thread % grid_columns_, grid_columns_);
    std::byte* scratch = scratch_.data() + thread * scratch_bytes();
    for (std::int64_t s = s0; s < s1; s += block_strips_) {
      if (copies_) copy_rows({s, std::min(s + block_strips_, s1)}, copy_of(scratch));
      for (std::int64_t p = p0; p < p1; p += block_panels_) {
        multiply_block(w, epilogue, {s, std::min(s + block_strips_, s1)},
                       {p, std::min(p + block_panels_, p1)}, scratch);
      }
    }
  });
}

std::byte* TileGemm::copy_of(std::byte* scratch) const {
  return scratch + scratch_bytes() - copy_bytes();
}

void TileGemm::copy_rows(Range strips, std::byte* copy) const {
  const std::int64_t first = strip(strips.begin).row;
  const Strip last = strip(strips.end - 1);
  for (std::int64_t row = first; row < last.row + last.rows; ++row) {
    std::memcpy(copy + (row - first) * copy_row_bytes(), x_ + row * x_row_bytes_,
                static_cast<std::size_t>(x_row_bytes_));
  }
}

void TileGemm::multiply_block(const std::byte* w, const Epilogue& epilogue, Range strips,
                              Range panels, std::byte* scratch) const {
  const std::int64_t tiles = block_steps_ >= steps_ ? 1 : block_strips_ * block_panels_;
  std::byte* unpacked = scratch + tiles * tile_bytes();
  std::int64_t k = 0;
  do {
    const Range steps{k, std::min(k + block_steps_, steps_)};
    const std::byte* block = w + panels.begin * panel_bytes() + k * set_.w_step_bytes;
    std::int64_t stride = panel_bytes();
    if (set_.unpack != nullptr) {
      stride = block_steps_ * set_.w_step_bytes;
      for (std::int64_t p = panels.begin; p < panels.end; ++p) {
        set_.unpack(w + p * panel_bytes() + k / set_.steps_per_packed * set_.packed_step_bytes,
                    (steps.end - k) / set_.steps_per_packed,
                    unpacked + (p - panels.begin) * stride);
      }
      block = unpacked;
    }
    if (set_.fused[0] != nullptr) {
      sweep_fused(block, stride, epilogue, strips, panels, steps, scratch);
    } else {
      sweep(block, stride, epilogue, strips, panels, steps, scratch);
    }
    k += block_steps_;
  } while (k < steps_);
}

const std::byte* TileGemm::strip_block(const Strip& strip, std::int64_t step) const {
  return a_.data() +
         (strip.row * strip_chunks_ + strip.rows * (step / set_.strip_steps)) * set_.a_step_bytes;
}

TileBlock TileGemm::tile_block(const Strip& strip, Range steps, const Rows& rows) const {
  TileBlock block;
  if (in_place()) {
    block.a_row_bytes = copies_ ? copy_row_bytes() : x_row_bytes_;
    block.a = rows.data + (strip.row - rows.first) * block.a_row_bytes +
              steps.begin * set_.row_step_bytes;
    block.a_chunk_bytes = set_.strip_steps * set_.row_step_bytes;
  } else {
    block.a = strip_block(strip, steps.begin);
    block.a_row_bytes = set_.a_step_bytes;
    block.a_chunk_bytes = strip.rows * set_.a_step_bytes;
  }
  block.steps = steps.end - steps.begin;
  block.accumulate = steps.begin > 0;
  block.rect.row = strip.row;
  block.rect.rows = strip.rows;
  return block;
}

// One block of K for all strips and panels given; the last one finishes the tiles.
void TileGemm::sweep(const std::byte* w, std::int64_t w_stride, const Epilogue& epilogue,
                     Range strips, Range panels, Range steps, std::byte* tiles) const {
  const bool keep = block_steps_ < steps_;
  const bool last = steps.end == steps_;
  const std::int64_t count = steps.end - steps.begin;
  for (std::int64_t s = strips.begin; s < strips.end; ++s) {
    const Strip strip = this->strip(s);
    const std::byte* a = strip_block(strip, steps.begin);
    // Only the strip that touches W first waits for it.
    const bool first = s == strips.begin && set_.unpack == nullptr;
    const TileFunction tile = (first ? set_.streaming : set_.tile)[strip.rows];
    for (std::int64_t p = panels.begin; p < panels.end; ++p) {
      const std::int64_t index = (s - strips.begin) * block_panels_ + (p - panels.begin);
      std::byte* c = tiles + (keep ? index * tile_bytes() : 0);
      tile(a, w + (p - panels.begin) * w_stride, count, c, steps.begin > 0);
      if (!last) continue;
      const std::int64_t column = p * set_.columns;
      set_.store(epilogue,
                 {strip.row, column, strip.rows,
                  static_cast<int>(std::min<std::int64_t>(set_.columns, N_ - column))},
                 c);
    }
  }
}

// The same with fused tiles.
void TileGemm::sweep_fused(const std::byte* w, std::int64_t w_stride, const Epilogue& epilogue,
                           Range strips, Range panels, Range steps, std::byte* tiles) const {
  const bool keep = block_steps_ < steps_;
  const bool last = steps.end == steps_;
  const bool plain = last && is_plain(epilogue);
  const Rows rows = copies_ ? Rows{copy_of(tiles), strip(strips.begin).row} : Rows{x_, 0};
  for (std::int64_t s = strips.begin; s < strips.end; ++s) {
    const Strip strip = this->strip(s);
    const Ahead ahead = fetch_of(strips, s - strips.begin, strip.rows);
    TileBlock block = tile_block(strip, steps, rows);
    block.ahead_bytes = ahead.bytes;
    for (std::int64_t p = panels.begin; p < panels.end; ++p) {
      const std::int64_t index = (s - strips.begin) * block_panels_ + (p - panels.begin);
      block.w = w + (p - panels.begin) * w_stride;
      block.c = tiles + (keep ? index * tile_bytes() : 0);
      block.rect.column = p * set_.columns;
      block.rect.columns =
          static_cast<int>(std::min<std::int64_t>(set_.columns, N_ - block.rect.column));
      const int quarters = (4 * block.rect.columns + set_.columns - 1) / set_.columns;
      // Narrow tiles leave out columns that do not exist, whole ones do not.
      const bool finishes = plain && (quarters <= 2 || block.rect.columns == set_.columns);
      block.epilogue = finishes ? &epilogue : nullptr;
      (quarters <= 2 ? set_.narrow[quarters - 1] : set_.fused[ahead.lines])[strip.rows](block);
      if (last && !finishes) set_.store(epilogue, block.rect, block.c);
    }
  }
}

}  // namespace pareto
