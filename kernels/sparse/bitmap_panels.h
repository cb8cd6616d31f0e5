// W of format bitmap or csr in panels, as a bitmap: per column of K one bit per row of the panel,
// and the nonzeros of the column packed one after the other. Included inside V's target region
// after panel_tiles.h.
//
// Few tokens: vectors are expanded in registers as the tile runs, so that W is read once, packed.
// More tokens than two strips: a chunk of columns is expanded into a buffer that stays in L2 and
// meets all strips. Or chunks are expanded by whoever multiplies them (tiled_layer_avx2.h).
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "kernels/sparse/panel_tiles.h"
#include "kernels/sparse/stored_rows.h"

namespace pareto {

/// Packed values are prefetched twice as far ahead as dense ones: a line of them is used up in more
/// time, but by loads that reach into the next line (14336 × 4096, half zeros, M = 1 on Zen 4: bf16
/// 79 to 82 % of the read ceiling, fp32 80 to 83 %).
inline constexpr std::int64_t kExpandAheadBytes = 2 * kAheadBytes;

/// Vectors of one column after the other, expanded from masks and packed values.
template <typename V, DType kT, int kVectors>
struct BitmapSource {
  using Mask = std::conditional_t<V::kLanes == 8, std::uint8_t, std::uint16_t>;
  static constexpr std::size_t kSize = kT == DType::kF32 ? 4 : 2;
  const Mask* mask;
  const std::byte* p;
  template <int kRows>
  void next(typename V::Reg* w) {
    if constexpr (V::kCountsColumns) {
      next_column(w);
    } else {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        // Two vectors are about a cache line of nonzeros.
        if (v % 2 == 0) __builtin_prefetch(p + kExpandAheadBytes);
        const Mask bits = mask[v];
        w[v] = V::template expand<kT>(p, bits);
        p += static_cast<unsigned>(std::popcount(bits)) * kSize;
      }
    }
    mask += kVectors;
  }

 private:
  /// Masks in one load, and values of all vectors at places that do not wait for one another.
  void next_column(typename V::Reg* w) {
    using Masks = std::conditional_t<kVectors * sizeof(Mask) == 4, std::uint32_t, std::uint16_t>;
    static_assert(sizeof(Masks) == kVectors * sizeof(Mask));
    __builtin_prefetch(p + kExpandAheadBytes);
    Masks all;
    std::memcpy(&all, mask, sizeof(all));
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const auto before = static_cast<Masks>(all & ((1U << (v * V::kLanes)) - 1));
      w[v] = V::template expand<kT>(p + static_cast<unsigned>(std::popcount(before)) * kSize,
                                    static_cast<Mask>(all >> (v * V::kLanes)));
    }
    p += static_cast<unsigned>(std::popcount(all)) * kSize;
  }
};

/// Expands 4·k4 columns to fp32; returns where the values went on.
template <typename V, typename Source, int kVectors>
Source expand_columns(Source source, std::int64_t k4, float* w) {
  for (std::int64_t k = 0; k < 4 * k4; ++k, w += kVectors * V::kLanes) {
    typename V::Reg column[kVectors];
    source.template next<1>(column);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) V::store(w + v * V::kLanes, column[v]);
  }
  return source;
}

template <typename V, DType kT, int kVectors>
class BitmapPanels : public PanelWeights {
 public:
  static constexpr std::int64_t kChunkColumns = 64;
  /// Up to so many columns of a panel.
  struct Chunk {
    BitmapSource<V, kT, kVectors> source;
    std::int64_t k4 = 0;  ///< columns / 4
  };

  BitmapPanels(const SparseProblem& problem, std::span<const Tensor> in)
      : p_(problem),
        k_padded_((p_.K + 3) / 4 * 4),
        chunks_(std::max<std::int64_t>(1, (k_padded_ + kChunkColumns - 1) / kChunkColumns)),
        mask_(panels() * k_padded_ * kVectors),
        start_(panels() * chunks_),
        values_(in[kSparseValues].elements() * kSize) {
    const std::vector<std::uint64_t> words = bitmap_masks(problem, in);
    std::int64_t place = 0;
    for (std::int64_t panel = 0; panel < panels(); ++panel) {
      place = pack(in, words.data(), panel, place);
    }
  }

  /// From column k on, a multiple of kChunkColumns.
  [[nodiscard]] Chunk chunk(std::int64_t panel, std::int64_t k) const {
    return {source(panel, k), std::min(kChunkColumns, k_padded_ - k) / 4};
  }
  static void expand(const Chunk& chunk, float* w) {
    expand_columns<V, Source, kVectors>(chunk.source, chunk.k4, w);
  }

  [[nodiscard]] std::int64_t k_padded() const override { return k_padded_; }
  [[nodiscard]] std::int64_t panels() const override { return (p_.N + kPanel - 1) / kPanel; }
  [[nodiscard]] std::int64_t first_row(std::int64_t panel) const override { return panel * kPanel; }
  [[nodiscard]] std::size_t bytes() const override {
    return mask_.bytes() + start_.bytes() + values_.bytes();
  }
  [[nodiscard]] std::int64_t workspace(const XStrips& x) const override {
    const std::int64_t sums = x.count() * x.height() * kPanel;
    return x.count() > kFusedStrips ? sums + kChunk * kPanel : sums;
  }

  void multiply(std::int64_t panel, const XStrips& x, const PanelIsa& isa,
                const SparseEpilogue& epilogue, std::int64_t rows, float* c) const override {
    const std::int64_t strip_sums = x.height() * kPanel;
    std::fill_n(c, x.count() * strip_sums, 0.0F);
    Source source = this->source(panel, 0);
    if (x.count() <= kFusedStrips) {
      for (std::int64_t s = 0; s < x.count(); ++s) {
        dense_tile_of<V, kVectors>(x.height(), source, x.strip(s), k_padded_ / 4,
                                   c + s * strip_sums);
      }
    } else {
      float* const chunk = c + x.count() * strip_sums;
      for (std::int64_t k = 0; k < k_padded_; k += kChunk) {
        const std::int64_t k4 = std::min(kChunk, k_padded_ - k) / 4;
        source = expand_columns<V, Source, kVectors>(source, k4, chunk);
        const auto* w = reinterpret_cast<const std::byte*>(chunk);
        for (std::int64_t s = 0; s < x.count(); ++s) {
          dense_tile_of<V, kVectors>(x.height(), StreamSource<V, DType::kF32, kVectors>{w},
                                     x.strip(s) + k * x.height(), k4, c + s * strip_sums);
        }
      }
    }
    for (std::int64_t s = 0; s < x.count(); ++s) {
      isa.finish(epilogue, s * x.height(), x.tokens(s), panel * kPanel, rows, c + s * strip_sums,
                 kPanel);
    }
  }

 private:
  using Source = BitmapSource<V, kT, kVectors>;
  using Mask = typename Source::Mask;
  static constexpr int kPanel = kVectors * V::kLanes;
  static constexpr std::int64_t kSize = kT == DType::kF32 ? 4 : 2;
  /// Up to so many strips, expanding again costs less than a detour through memory.
  static constexpr std::int64_t kFusedStrips = 2;
  static constexpr std::int64_t kChunk = 512;  ///< columns expanded at a time: 64 KiB of 32 rows

  [[nodiscard]] Source source(std::int64_t panel, std::int64_t k) const {
    return {mask_.data() + (panel * k_padded_ + k) * kVectors,
            values_.data() + start_[panel * chunks_ + k / kChunkColumns] * kSize};
  }

  /// Values go to `place` and on; returns where they end.
  std::int64_t pack(std::span<const Tensor> in, const std::uint64_t* words, std::int64_t panel,
                    std::int64_t place) {
    const std::int64_t* offset = in[kSparseOffset].as<const std::int64_t>();
    const std::int64_t first = panel * kPanel;
    const std::int64_t rows = std::min<std::int64_t>(kPanel, p_.N - first);
    std::vector<std::int64_t> next(offset + first, offset + first + rows);
    for (std::int64_t k = 0; k < p_.K; ++k) {
      if (k % kChunkColumns == 0) start_[panel * chunks_ + k / kChunkColumns] = place;
      Mask* bits = mask_.data() + (panel * k_padded_ + k) * kVectors;
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::uint64_t word = words[(first + i) * p_.words() + k / kBitmapBits];
        if ((word >> static_cast<unsigned>(k % kBitmapBits) & 1U) == 0) continue;
        bits[i / V::kLanes] |= static_cast<Mask>(1U << static_cast<unsigned>(i % V::kLanes));
        std::memcpy(values_.data() + place++ * kSize,
                    in[kSparseValues].data + next[static_cast<std::size_t>(i)]++ * kSize, kSize);
      }
    }
    return place;
  }

  SparseProblem p_;
  std::int64_t k_padded_;
  std::int64_t chunks_;                ///< of a panel, for each of which start_ has a place
  AlignedBuffer<Mask> mask_;           ///< [panel][k_padded][kVectors]
  AlignedBuffer<std::int64_t> start_;  ///< [panel][chunks]: the first value
  AlignedBuffer<std::byte> values_;
};

}  // namespace pareto
