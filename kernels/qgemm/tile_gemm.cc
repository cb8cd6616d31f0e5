#include "kernels/qgemm/tile_gemm.h"

#include <algorithm>
#include <cstring>

namespace pareto {
TileGemm::Strip TileGemm::strip(std::int64_t s) const {
  return {s * strip_rows_ + std::min(s, larger_strips_),
          static_cast<int>(strip_rows_ + (s < larger_strips_ ? 1 : 0))};
}

std::byte* TileGemm::strip_data(std::int64_t s) {
  return a_.data() + strip(s).row * strip_chunks_ * set_.a_step_bytes;
}

std::int64_t TileGemm::panel_bytes() const {
  return set_.unpack == nullptr ? steps_ * set_.w_step_bytes
                                : (steps_ + set_.steps_per_packed - 1) / set_.steps_per_packed *
                                      set_.packed_step_bytes;
}

std::int64_t TileGemm::tile_bytes() const {
  return std::int64_t{set_.max_rows} * set_.columns * std::int64_t{sizeof(float)};
}

void TileGemm::multiply(const std::byte* w, const Epilogue& epilogue, ThreadPool& pool,
                        const std::byte* x) {
  if (M_ == 0 || N_ == 0) return;
  x_ = x;
  pool.run([&](int thread, int /*threads*/) {
    if (thread >= grid_.rows * grid_.columns) return;
    const auto [s0, s1] = share_of(strips_, thread / grid_.columns, grid_.rows);
    const auto [p0, p1] = share_of(panels_, thread % grid_.columns, grid_.columns);
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
  std::byte* unpacked = scratch + kept_tiles() * tile_bytes();
  std::int64_t k = 0;
  do {
    const Range steps{k, std::min(k + block_steps_, steps_)};
    const std::byte* block = w + panels.begin * panel_bytes() + k * set_.w_step_bytes;
    std::int64_t stride = panel_bytes();
    if (set_.unpack != nullptr) {
      stride = block_steps_ * set_.w_step_bytes;
      unpack(w, panels, steps, unpacked);
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

void TileGemm::unpack(const std::byte* w, Range panels, Range steps, std::byte* unpacked) const {
  const std::byte* block = w + panels.begin * panel_bytes() +
                           steps.begin / set_.steps_per_packed * set_.packed_step_bytes;
  for (std::int64_t p = panels.begin; p < panels.end; ++p) {
    const std::byte* next = block + panel_bytes();
    set_.unpack(block,
                (steps.end - steps.begin + set_.steps_per_packed - 1) / set_.steps_per_packed, next,
                unpacked);
    block = next;
    unpacked += block_steps_ * set_.w_step_bytes;
  }
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
      const std::int64_t column = p * set_.columns;
      const auto columns = static_cast<int>(std::min<std::int64_t>(set_.columns, N_ - column));
      const bool half = set_.half != nullptr && 2 * columns <= set_.columns;
      (half ? set_.half[strip.rows] : tile)(a, w + (p - panels.begin) * w_stride, count, c,
                                            steps.begin > 0);
      if (last) set_.store(epilogue, {strip.row, column, strip.rows, columns}, c);
    }
  }
}

// The same with fused tiles.
void TileGemm::sweep_fused(const std::byte* w, std::int64_t w_stride, const Epilogue& epilogue,
                           Range strips, Range panels, Range steps, std::byte* tiles) const {
  const bool keep = block_steps_ < steps_;
  const bool last = steps.end == steps_;
  const bool plain = last && epilogue.is_plain();
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
