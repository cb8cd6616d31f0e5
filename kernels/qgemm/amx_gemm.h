// Blocked, threaded matrix product on AMX: y = x · Wᵀ with both operands packed for tile_amx.h.
//
// A strip holds up to 32 rows of x, a panel 32 columns of Wᵀ, both cut along K into steps of 16
// dwords. Some strips over a part of K, half of L2, stay where they are while W passes by once, in
// order, a chunk of a panel at a time: its 32 KiB stay in L1 for all strips, whose steps stream
// from L2. What comes from beyond L2 is thus W alone, 64 bytes for 8 products at 8 strips, and its
// next steps are fetched meanwhile: few lines at a time, since L1 waits for 16 lines at most, and
// the strips need half of those. W that is stored compressed is expanded a chunk at a time instead.
// A single strip of a W that is not is read again for every panel, which streams.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "harness/aligned_buffer.h"
#include "harness/thread_pool.h"
#include "kernels/l2_bytes.h"
#include "kernels/qgemm/thread_grid.h"
#include "kernels/qgemm/tile_amx.h"
#include "kernels/qgemm/tile_gemm.h"

namespace pareto {

/// How panels of W are stored.
struct AmxPanels {
  UnpackFunction unpack = nullptr;  ///< null: as the tiles read them
  std::int64_t unit_steps = 1;      ///< steps of K that are stored together …
  std::int64_t unit_groups = 1;     ///< … as so many groups, for `unpack` to expand
  std::int64_t group_bytes = kAmxPanelStepBytes;

  [[nodiscard]] std::int64_t groups(std::int64_t steps) const {
    return (steps + unit_steps - 1) / unit_steps * unit_groups;
  }
  /// Where a step lies that begins a unit.
  [[nodiscard]] std::int64_t offset(std::int64_t step) const { return groups(step) * group_bytes; }
};

/// Strips, parts of K and panels that a thread goes through together.
struct AmxBlocks {
  std::int64_t strips = 1;
  std::int64_t steps = 1;
  std::int64_t chunk = 1;  ///< steps of K whose panel is in L1
  std::int64_t panels = 1;

  /// For a thread's share of `strips` strips of `height` rows, all `steps` of K; `pieces`: as
  /// AmxGemm says.
  static AmxBlocks of(std::int64_t strips, int height, std::int64_t panels, std::int64_t steps,
                      const AmxPanels& stored = {}, int pieces = 1);
};

/// kPieces: steps of an expanded panel that stand for one of K and meet the same step of a strip.
template <typename Amx, typename Product, int kPieces = 1>
class AmxGemm {
 public:
  using Strip = TileGemm::Strip;

  /// Allocates the workspace.
  AmxGemm(StoreFunction store, std::int64_t M, std::int64_t N, std::int64_t steps, int threads,
          const AmxPanels& stored = {})
      : store_(store), stored_(stored), M_(M), N_(N), steps_(steps) {
    strips_ = (M + kAmxStripRows - 1) / kAmxStripRows;
    panels_ = (N + kAmxColumns - 1) / kAmxColumns;
    // Equal heights: tiles are set up once a call.
    height_ = strips_ > 0 ? static_cast<int>((M + strips_ - 1) / strips_) : 0;
    grid_ = thread_grid(strips_, panels_, threads);
    blocks_ = AmxBlocks::of((strips_ + grid_.rows - 1) / grid_.rows, height_, panels_, steps,
                            stored, kPieces);
    strip_bytes_ = steps * step_bytes();
    if (blocks_.steps < steps) strip_bytes_ = odd_multiple(strip_bytes_);
    a_ = AlignedBuffer<std::byte>((owns_strips() ? threads * blocks_.strips : strips_) *
                                  strip_bytes_);
    workspace_ = AlignedBuffer<std::byte>(threads * workspace_bytes());
  }

  /// Bytes from 64 of a row to the next.
  [[nodiscard]] std::int64_t chunk_stride(const Strip& /*strip*/) const { return step_bytes(); }
  [[nodiscard]] std::int64_t panels() const { return panels_; }
  /// Steps and bytes from one panel to the next.
  [[nodiscard]] std::int64_t panel_steps() const { return steps_; }
  [[nodiscard]] std::int64_t panel_bytes() const { return stored_.offset(steps_); }

  /// All of y after fill(strip, thread, data) has filled every strip, where zeros stand beyond its
  /// elements. `w` holds panels() panels. x is not read where it lies.
  template <typename Fill>
  void fill_and_multiply(const std::byte* w, const Epilogue& epilogue, ThreadPool& pool,
                         const std::byte* /*x*/, const Fill& fill) {
    if (M_ == 0 || N_ == 0) return;
    if (!owns_strips()) {
      pool.run([&](int thread, int threads) {
        const auto [begin, end] = share_of(strips_, thread, threads);
        for (std::int64_t s = begin; s < end; ++s) {
          fill(strip(s), thread, a_.data() + s * strip_bytes_);
        }
      });
    }
    pool.run([&](int thread, int /*threads*/) {
      if (thread >= grid_.rows * grid_.columns) return;
      const auto [s0, s1] = share_of(strips_, thread / grid_.columns, grid_.rows);
      const auto [p0, p1] = share_of(panels_, thread % grid_.columns, grid_.columns);
      Worker worker(*this, w, epilogue, workspace_.data() + thread * workspace_bytes());
      for (std::int64_t s = s0; s < s1; s += blocks_.strips) {
        const Range strips{s, std::min(s + blocks_.strips, s1)};
        std::byte* a = a_.data() + (owns_strips() ? thread * blocks_.strips : s) * strip_bytes_;
        for (std::int64_t i = 0; owns_strips() && i < strips.size(); ++i) {
          fill(strip(s + i), thread, a + i * strip_bytes_);
        }
        for (std::int64_t p = p0; p < p1; p += blocks_.panels) {
          worker.multiply(strips, a, {p, std::min(p + blocks_.panels, p1)});
        }
      }
    });
  }

 private:
  struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    [[nodiscard]] std::int64_t size() const { return end - begin; }
  };

  // One thread's way through its blocks.
  class Worker {
   public:
    Worker(AmxGemm& gemm, const std::byte* w, const Epilogue& epilogue, std::byte* workspace)
        : gemm_(gemm),
          w_(w),
          epilogue_(epilogue),
          unpacked_(workspace),
          parts_(unpacked_ + gemm.unpacked_bytes()),
          kept_(parts_ + 2 * gemm.tile_bytes()) {
      epilogue_.past_caches = goes_past_caches(epilogue.y);
      amx_.configure(amx_shapes(gemm.height_));
    }
    ~Worker() {
      waiting_.finish(0, waiting_.rect.rows);
      if (epilogue_.past_caches) _mm_sfence();
      amx_.release();
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Tiles of strips, which begin at `a`, with panels.
    void multiply(Range strips, const std::byte* a, Range panels) {
      strips_ = strips;
      a_ = a;
      const AmxBlocks& blocks = gemm_.blocks_;
      std::int64_t k = 0;
      do {
        const Range part{k, std::min(k + blocks.steps, gemm_.steps_)};
        for (std::int64_t p = panels.begin; p < panels.end; ++p) {
          const std::int64_t slot = blocks.steps < gemm_.steps_ ? p - panels.begin : 0;
          multiply_panel(p, kept_ + slot * blocks.strips * gemm_.tile_bytes(), part);
        }
        k = part.end;
      } while (k < gemm_.steps_);
    }

   private:
    void multiply_panel(std::int64_t panel, std::byte* kept, Range part) {
      std::int64_t k = part.begin;
      do {
        const Range steps{k, std::min(k + gemm_.blocks_.chunk, part.end)};
        const std::byte* w = w_ + panel * gemm_.panel_bytes() + gemm_.stored_.offset(k);
        AmxAhead ahead = next_chunk(panel, steps, part);
        if (gemm_.stored_.unpack != nullptr) {
          gemm_.stored_.unpack(w, gemm_.stored_.groups(steps.size()), ahead.data, unpacked_);
          w = unpacked_;
        }
        for (std::int64_t i = 0; i < strips_.size(); ++i) {
          multiply_tile(i, panel, steps, w, kept + i * gemm_.tile_bytes(), ahead);
          ahead.data += steps.size() * ahead.lines * 64;
        }
        k = steps.end;
      } while (k < part.end);
    }

    // What follows of this panel or, in the next one, at the start of the part, and how much of it
    // each step of each strip has to fetch.
    [[nodiscard]] AmxAhead next_chunk(std::int64_t panel, Range steps, Range part) const {
      const bool same_panel = steps.end < part.end;
      AmxAhead ahead{w_ + (same_panel ? panel : panel + 1) * gemm_.panel_bytes() +
                     gemm_.stored_.offset(same_panel ? steps.end : part.begin)};
      if (!single() && gemm_.stored_.unpack == nullptr) {
        ahead.lines = static_cast<int>(kAmxPanelStepBytes / 64 / strips_.size());
      }
      return ahead;
    }

    // The panel passes by once.
    [[nodiscard]] bool single() const {
      return strips_.size() == 1 && gemm_.stored_.unpack == nullptr;
    }

    void multiply_tile(std::int64_t i, std::int64_t panel, Range steps, const std::byte* w,
                       std::byte* kept, const AmxAhead& ahead) {
      const bool first = steps.begin == 0;
      const bool last = steps.end == gemm_.steps_;
      // The first of several parts goes where sums are kept.
      std::byte* sums = first && !last ? kept : parts_ + turn_ * gemm_.tile_bytes();
      const std::byte* a = a_ + i * gemm_.strip_bytes_ + steps.begin * gemm_.step_bytes();
      (gemm_.height_ > kAmxRows ? tile<true>() : tile<false>())(
          amx_, gemm_.height_, a, w, steps.size(), sums, waiting_, ahead);
      waiting_ = {};
      if (first && !last) return;
      turn_ = 1 - turn_;
      const Strip strip = gemm_.strip(strips_.begin + i);
      const std::int64_t column = panel * kAmxColumns;
      waiting_.rect = {strip.row, column, strip.rows,
                       static_cast<int>(std::min<std::int64_t>(kAmxColumns, gemm_.N_ - column))};
      waiting_.sums = sums;
      waiting_.kept = first ? nullptr : kept;
      waiting_.store = last ? gemm_.store_ : nullptr;
      waiting_.epilogue = &epilogue_;
    }

    template <bool kLower>
    [[nodiscard]] auto tile() const {
      if constexpr (kPieces == 1) {
        if (single()) return &amx_tile<Product, AmxReused::kStrip, 1, kLower, Amx>;
      }
      return &amx_tile<Product, AmxReused::kPanel, kPieces, kLower, Amx>;
    }

    AmxGemm& gemm_;
    const std::byte* w_;
    Epilogue epilogue_;
    std::byte* unpacked_;  ///< a chunk of a panel
    std::byte* parts_;     ///< two tiles by turns
    std::byte* kept_;
    Range strips_;
    const std::byte* a_ = nullptr;
    Amx amx_;
    WaitingSums<Product> waiting_;
    int turn_ = 0;
  };

  [[nodiscard]] Strip strip(std::int64_t s) const {
    const std::int64_t row = s * height_;
    return {row, static_cast<int>(std::clamp<std::int64_t>(M_ - row, 0, height_))};
  }
  // A thread that shares its strips with no other fills a block of them just before its use, in the
  // place of the block before, which is still in L2.
  [[nodiscard]] bool owns_strips() const { return grid_.columns == 1; }
  // Of 8 KiB: the same steps of all strips shall not fall into the same sets of L2.
  static std::int64_t odd_multiple(std::int64_t bytes) {
    constexpr std::int64_t kUnit = 8 << 10;
    return ((bytes + kUnit - 1) / kUnit | 1) * kUnit;
  }
  [[nodiscard]] std::int64_t step_bytes() const { return std::int64_t{height_} * kAmxRowBytes; }
  [[nodiscard]] std::int64_t tile_bytes() const { return height_ * kAmxSumRowBytes; }
  [[nodiscard]] std::int64_t unpacked_bytes() const {
    return stored_.unpack != nullptr ? blocks_.chunk * kPieces * kAmxPanelStepBytes : 0;
  }
  [[nodiscard]] std::int64_t workspace_bytes() const {
    std::int64_t kept = 0;
    if (blocks_.chunk < steps_) kept = blocks_.strips;
    if (blocks_.steps < steps_) kept *= blocks_.panels;
    return (2 + kept) * tile_bytes() + unpacked_bytes();
  }

  StoreFunction store_;
  AmxPanels stored_;
  std::int64_t M_;
  std::int64_t N_;
  std::int64_t steps_;
  std::int64_t strips_ = 0;
  std::int64_t panels_ = 0;
  int height_ = 0;
  ThreadGrid grid_;
  AmxBlocks blocks_;
  std::int64_t strip_bytes_ = 0;
  AlignedBuffer<std::byte> a_;
  AlignedBuffer<std::byte> workspace_;
};

}  // namespace pareto
