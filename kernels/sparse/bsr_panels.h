// Block-sparse W in panels: each stored block is transposed to [k][rows], and the tile goes from
// one to the next. Included inside V's target region after panel_tiles.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>

#include "kernels/sparse/panel_tiles.h"

namespace pareto {

/// Stored blocks side by side in one panel, for one strip.
struct BsrRun {
  const std::byte* w = nullptr;          ///< the blocks, each [block][rows]
  const std::int32_t* column = nullptr;  ///< of each block, in blocks
  std::int64_t count = 0;
  std::int64_t block = 0;    ///< columns of a block as x has them: a dword each
  const float* x = nullptr;  ///< the strip
};

/// c[kRows][kVectors · lanes] += x·wᵀ; the sums stay in registers from block to block.
template <typename V, DType kStream, int kRows, int kVectors, bool kFetched>
void bsr_tile(const BsrRun& run, float* c) {
  typename V::Reg sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[i][v] = V::load(c + (i * kVectors + v) * V::kLanes);
  }
  StreamSource<V, kStream, kVectors, kFetched> source{run.w};
  for (std::int64_t i = 0; i < run.count; ++i) {
    dense_columns<V>(source, run.x + run.column[i] * run.block * kRows, run.block / 4, sum);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) V::store(c + (i * kVectors + v) * V::kLanes, sum[i][v]);
  }
}

/// bsr_tile for a strip height.
template <typename V, DType kStream, int kVectors, bool kFetched, std::size_t... kIndex>
auto find_bsr_tile(int height, std::index_sequence<kIndex...> /*heights*/)
    -> void (*)(const BsrRun&, float*) {
  constexpr auto& kHeights = kStripHeights<V, kVectors>;
  using Tile = void (*)(const BsrRun&, float*);
  static constexpr Tile kTiles[] = {&bsr_tile<V, kStream, kHeights[kIndex], kVectors, kFetched>...};
  for (std::size_t i = 0; i < sizeof...(kIndex); ++i) {
    if (kHeights[i] == height) return kTiles[i];
  }
  return nullptr;
}

template <typename V, DType kT, int kPair = 1>
class BsrPanels : public PanelWeights {
 public:
  BsrPanels(const SparseProblem& problem, std::span<const Tensor> in)
      : p_(problem),
        rows_(std::min<std::int64_t>(p_.block, 2 * V::kLanes)),
        chunks_(std::max<std::int64_t>(1, (p_.block_columns() * p_.block + kChunk - 1) / kChunk)),
        offset_(p_.block_rows() + 1),
        chunk_(p_.block_rows() * (chunks_ + 1)),
        column_(in[kSparseIndex].elements()),
        values_(in[kSparseValues].elements() * kSize) {
    std::copy_n(in[kSparseOffset].as<const std::int64_t>(), offset_.size(), offset_.data());
    std::copy_n(in[kSparseIndex].as<const std::int32_t>(), column_.size(), column_.data());
    for (std::int64_t r = 0; r < p_.block_rows(); ++r) {
      const std::int32_t* const begin = column_.data() + offset_[r];
      const std::int32_t* const end = column_.data() + offset_[r + 1];
      for (std::int64_t c = 0; c <= chunks_; ++c) {
        chunk_[r * (chunks_ + 1) + c] =
            std::lower_bound(begin, end, c * kChunk / p_.block) - column_.data();
      }
      for (std::int64_t i = offset_[r]; i < offset_[r + 1]; ++i) pack(in[kSparseValues], r, i);
    }
  }

  [[nodiscard]] std::int64_t k_padded() const override {
    return p_.block_columns() * p_.block / kPair;
  }
  [[nodiscard]] std::int64_t panels() const override { return (p_.N + rows_ - 1) / rows_; }
  [[nodiscard]] std::int64_t first_row(std::int64_t panel) const override { return panel * rows_; }
  [[nodiscard]] std::size_t bytes() const override {
    return offset_.bytes() + chunk_.bytes() + column_.bytes() + values_.bytes();
  }
  [[nodiscard]] std::int64_t workspace(const XStrips& x) const override {
    return group_panels(x) * x.count() * x.height() * rows_;
  }

  void multiply(std::int64_t panel, const XStrips& x, const PanelIsa& isa,
                const SparseEpilogue& epilogue, std::int64_t rows, float* c) const override {
    const std::int64_t strip_sums = x.height() * rows_;
    std::fill_n(c, x.count() * strip_sums, 0.0F);
    const Tile tile = tile_of<true>(x.height());
    BsrRun run = run_of(panel, 0, chunks_);
    for (std::int64_t s = 0; s < x.count(); ++s) {
      run.x = x.strip(s);
      tile(run, c + s * strip_sums);
    }
    for (std::int64_t s = 0; s < x.count(); ++s) {
      finish(panel, s, x, isa, epilogue, rows, c + s * strip_sums);
    }
  }

  /// With many strips, groups of panels meet all of them a chunk of columns at a time: the group's
  /// part of W stays in L2, a strip's part in L1.
  void multiply_all(std::int64_t begin, std::int64_t end, std::int64_t N, const XStrips& x,
                    const PanelIsa& isa, const SparseEpilogue& epilogue,
                    float* workspace) const override {
    const std::int64_t group = group_panels(x);
    if (group == 1) {
      return PanelWeights::multiply_all(begin, end, N, x, isa, epilogue, workspace);
    }
    const std::int64_t panel_sums = x.count() * x.height() * rows_;
    for (std::int64_t first = begin; first < end; first += group) {
      const std::int64_t last = std::min(first + group, end);
      std::fill_n(workspace, (last - first) * panel_sums, 0.0F);
      for (std::int64_t k = 0; k < chunks_; ++k) add_chunk(first, last, x, k, workspace);
      // Token by token: panels share the lines of y.
      for (std::int64_t s = 0; s < x.count(); ++s) {
        for (std::int64_t panel = first; panel < last; ++panel) {
          finish(panel, s, x, isa, epilogue, rows_of(panel, N),
                 workspace + (panel - first) * panel_sums + s * x.height() * rows_);
        }
      }
    }
  }

 private:
  static constexpr std::int64_t kSize = kT == DType::kF32 ? 4 : 2;
  static constexpr DType kStream = kPair == 2 ? DType::kF32 : kT;  ///< a lane is a dword

  static constexpr std::int64_t kChunk = 512;    ///< columns
  static constexpr std::int64_t kFewStrips = 4;  ///< so few need no groups
  static constexpr std::int64_t kGroupBytes = 192 << 10;
  static constexpr std::int64_t kMostSums = 1 << 19;  ///< of a group: 2 MiB

  // Panels whose parts of W, a chunk of columns, are about kGroupBytes; fewer if their sums are
  // many.
  [[nodiscard]] std::int64_t group_panels(const XStrips& x) const {
    if (x.count() <= kFewStrips) return 1;
    const std::int64_t bytes = std::max<std::int64_t>(1, values_.bytes() / chunks_);
    const std::int64_t fit =
        std::min(panels() * kGroupBytes / bytes, kMostSums / (x.count() * x.height() * rows_));
    return std::clamp<std::int64_t>(fit, 1, std::max<std::int64_t>(1, panels()));
  }

  // The blocks of a panel in chunks c0 … c1 of columns.
  [[nodiscard]] BsrRun run_of(std::int64_t panel, std::int64_t c0, std::int64_t c1) const {
    const std::int64_t r = panel * rows_ / p_.block;
    const std::int64_t* const chunk = chunk_.data() + r * (chunks_ + 1);
    BsrRun run;
    run.column = column_.data() + chunk[c0];
    run.count = chunk[c1] - chunk[c0];
    run.w = panel_data(r, panel * rows_ % p_.block / rows_) +
            (chunk[c0] - chunk[0]) * p_.block * rows_ * kSize;
    run.block = p_.block / kPair;
    return run;
  }

  // c[panel][strip][height][rows_] += the part of panels first … last in a chunk of columns.
  void add_chunk(std::int64_t first, std::int64_t last, const XStrips& x, std::int64_t chunk,
                 float* c) const {
    const Tile tile = tile_of<false>(x.height());
    const std::int64_t strip_sums = x.height() * rows_;
    for (std::int64_t s = 0; s < x.count(); ++s) {
      for (std::int64_t panel = first; panel < last; ++panel) {
        BsrRun run = run_of(panel, chunk, chunk + 1);
        run.x = x.strip(s);
        tile(run, c + ((panel - first) * x.count() + s) * strip_sums);
      }
    }
  }

  void finish(std::int64_t panel, std::int64_t strip, const XStrips& x, const PanelIsa& isa,
              const SparseEpilogue& epilogue, std::int64_t rows, const float* c) const {
    isa.finish(epilogue, strip * x.height(), x.tokens(strip), panel * rows_, rows, c,
               static_cast<int>(rows_));
  }

  using Tile = void (*)(const BsrRun&, float*);
  template <bool kFetched>
  [[nodiscard]] Tile tile_of(int height) const {
    if (rows_ == V::kLanes) {
      return find_bsr_tile<V, kStream, 1, kFetched>(
          height, std::make_index_sequence<kStripHeights<V, 1>.size()>());
    }
    return find_bsr_tile<V, kStream, 2, kFetched>(
        height, std::make_index_sequence<kStripHeights<V, 2>.size()>());
  }

  // Panel `part` of block row r: all its blocks one after the other.
  [[nodiscard]] std::int64_t panel_offset(std::int64_t r, std::int64_t part) const {
    const std::int64_t blocks = offset_[r + 1] - offset_[r];
    return (offset_[r] * p_.block + part * blocks * rows_) * p_.block * kSize;
  }
  [[nodiscard]] const std::byte* panel_data(std::int64_t r, std::int64_t part) const {
    return values_.data() + panel_offset(r, part);
  }

  // Of a row in a column of its panel.
  [[nodiscard]] std::int64_t place(std::int64_t row) const {
    return rows_ == V::kLanes ? row : place_of_value<V, kStream, 2>(static_cast<int>(row));
  }

  void pack(const Tensor& values, std::int64_t r, std::int64_t i) {
    const std::byte* from = values.data + i * p_.block * p_.block * kSize;
    for (std::int64_t n = 0; n < p_.block; ++n) {
      std::byte* to = values_.data() + panel_offset(r, n / rows_) +
                      ((i - offset_[r]) * p_.block * rows_ + place(n % rows_) * kPair) * kSize;
      for (std::int64_t k = 0; k < p_.block; ++k) {
        std::memcpy(to + (k / kPair * kPair * rows_ + k % kPair) * kSize,
                    from + (n * p_.block + k) * kSize, kSize);
      }
    }
  }

  SparseProblem p_;
  std::int64_t rows_;  ///< of a panel: two vectors, or one where the block has no more
  std::int64_t chunks_;
  AlignedBuffer<std::int64_t> offset_;
  AlignedBuffer<std::int64_t> chunk_;  ///< [block row][chunks + 1]: its first block
  AlignedBuffer<std::int32_t> column_;
  AlignedBuffer<std::byte> values_;
};

}  // namespace pareto
