// Panels of bf16 for vdpbf16ps: a lane holds two neighbouring columns of one row. Included inside
// V's target region after panel_tiles.h; V is SparseAvx512Bf16.
//
// x keeps its 16 bits: strips hold one dword, two columns, where panel_tiles.h has one float.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>

#include "kernels/sparse/bitmap_panels.h"
#include "kernels/sparse/pair_bitmap.h"

namespace pareto {

/// One token of bf16 as dwords: four of them every 4·height floats.
template <typename V>
void pack_token_pairs(const Tensor& x, std::int64_t m, std::int64_t K, std::int64_t height,
                      float* out) {
  const std::uint16_t* row = x.as<const std::uint16_t>() + m * K;
  for (std::int64_t k = 0; k < K; k += 8, out += 4 * height) {
    if (k + 8 <= K) {
      std::memcpy(out, row + k, 16);
      continue;
    }
    std::uint16_t last[8] = {};
    std::copy_n(row + k, K - k, last);
    std::memcpy(out, last, 16);
  }
}

template <typename V, int kVectors>
PanelIsa pair_panel_isa() {
  return {kVectors * V::kLanes, kStripHeights<V, kVectors>, &pack_token_pairs<V>,
          &finish_sums<typename V::Floats>};
}

/// Vectors that a source has expanded ahead of their use.
template <typename V, int kHeld>
struct HeldVectors {
  typename V::Reg held[kHeld];
};
template <typename V>
struct HeldVectors<V, 0> {};

/// Per pair of columns: 32 places of each vector of rows as a mask, the nonzeros packed. kHeld
/// vectors are expanded ahead of `next`, after a call of `start`; they are read behind the end,
/// too.
template <typename V, int kVectors, int kHeld = 0>
struct PairBitmapSource : HeldVectors<V, kHeld> {
  static_assert(kHeld == 0 || kVectors % kHeld == 0);

  PairBitmapSource() = default;
  PairBitmapSource(const std::uint32_t* masks, const std::byte* values) : mask(masks), p(values) {}

  [[gnu::always_inline]] void start() {
    if constexpr (kHeld > 0) {
#pragma GCC unroll 4
      for (int v = 0; v < kHeld; ++v) this->held[v] = expand(v);
    }
  }
  template <int kRows>
  [[gnu::always_inline]] void next(typename V::Reg* w) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (kHeld == 0) {
        w[v] = expand(v);
      } else {
        w[v] = this->held[v % kHeld];
        this->held[v % kHeld] = expand(v);
      }
    }
  }

 private:
  [[gnu::always_inline]] typename V::Reg expand(int v) {
    // Two vectors are about a cache line of nonzeros.
    if (v % 2 == 0) __builtin_prefetch(p + kExpandAheadBytes);
    const std::uint32_t bits = *mask++;
    const auto w = V::expand_pairs(p, bits);
    p += static_cast<unsigned>(std::popcount(bits)) * std::size_t{2};
    return w;
  }

  const std::uint32_t* mask = nullptr;
  const std::byte* p = nullptr;
};

/// Stores the vectors of a source as well, for the strips that follow: beside the products that
/// costs next to nothing.
template <typename V, int kVectors, typename Source>
struct KeptSource {
  Source source;
  float* to;
  [[gnu::always_inline]] void start() { source.start(); }
  template <int kRows>
  [[gnu::always_inline]] void next(typename V::Reg* w) {
    source.template next<kRows>(w);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v, to += V::kLanes) V::store(to, w[v]);
  }
};

/// W of format bitmap, csr or 2to4, as a bitmap over pairs of columns.
template <typename V, int kVectors>
class PairBitmapPanels : public PanelWeights {
 public:
  PairBitmapPanels(const SparseProblem& problem, std::span<const Tensor> in)
      : w_(problem, in, kVectors, (problem.K + 7) / 8 * 4, kChunk) {}

  [[nodiscard]] std::int64_t k_padded() const override { return w_.pairs(); }
  [[nodiscard]] std::int64_t panels() const override { return w_.panels(); }
  [[nodiscard]] std::int64_t first_row(std::int64_t panel) const override { return panel * kPanel; }
  [[nodiscard]] std::size_t bytes() const override { return w_.bytes(); }
  [[nodiscard]] std::int64_t workspace(const XStrips& x) const override {
    const std::int64_t sums = x.count() * x.height() * kPanel;
    return x.count() > 1 ? sums + kChunk * kPanel : sums;
  }

  void multiply(std::int64_t panel, const XStrips& x, const PanelIsa& isa,
                const SparseEpilogue& epilogue, std::int64_t rows, float* c) const override {
    const std::int64_t pairs = w_.pairs();
    const std::int64_t strip_sums = x.height() * kPanel;
    std::fill_n(c, x.count() * strip_sums, 0.0F);
    if (x.count() == 1) {
      dense_tile_of<V, kVectors>(x.height(), Source{w_.masks(panel, 0), w_.values(panel, 0)},
                                 x.strip(0), pairs / 4, c);
    } else if (x.count() > 1) {
      float* const chunk = c + x.count() * strip_sums;
      for (std::int64_t k = 0; k < pairs; k += kChunk) {
        const std::int64_t k4 = std::min(kChunk, pairs - k) / 4;
        const Source source{w_.masks(panel, k), w_.values(panel, k / kChunk)};
        dense_tile_of<V, kVectors>(x.height(), KeptSource<V, kVectors, Source>{source, chunk},
                                   x.strip(0) + k * x.height(), k4, c);
        const auto* w = reinterpret_cast<const std::byte*>(chunk);
        for (std::int64_t s = 1; s < x.count(); ++s) {
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
  /// Expanded right before its products, a vector waits behind those of the one before: 20.2 cycles
  /// per vector and 16 tokens on Zen 4, one ahead 17.8, of which the products take 16, vpexpandw .8
  /// and kmovd .5. Four vectors are for few tokens, where memory is slower than that.
  using Source = PairBitmapSource<V, kVectors, kVectors <= 2 ? kVectors : 0>;
  static constexpr std::int64_t kPanel = kVectors * V::kLanes;
  static constexpr std::int64_t kChunk = 256;  ///< pairs kept at a time: 32 KiB of 32 rows

  PairBitmap w_;  ///< pairs: a multiple of 4
};

}  // namespace pareto
