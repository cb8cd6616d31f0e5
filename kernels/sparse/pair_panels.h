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
#include <vector>

#include "kernels/sparse/bitmap_panels.h"
#include "kernels/sparse/stored_rows.h"

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

/// Per pair of columns: 32 places of each vector of rows as a mask, the nonzeros packed.
template <typename V, int kVectors>
struct PairBitmapSource {
  const std::uint32_t* mask;
  const std::byte* p;
  template <int kRows>
  void next(typename V::Reg* w) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      // Two vectors are about a cache line of nonzeros.
      if (v % 2 == 0) __builtin_prefetch(p + kExpandAheadBytes);
      w[v] = V::expand_pairs(p, mask[v]);
      p += static_cast<unsigned>(std::popcount(mask[v])) * std::size_t{2};
    }
    mask += kVectors;
  }
};

/// W of format bitmap or 2to4, as a bitmap over pairs of columns.
template <typename V, int kVectors>
class PairBitmapPanels : public PanelWeights {
 public:
  PairBitmapPanels(const SparseProblem& problem, std::span<const Tensor> in)
      : p_(problem),
        pairs_((p_.K + 7) / 8 * 4),
        mask_(panels() * pairs_ * kVectors),
        start_(panels() + 1),
        values_(in[kSparseValues].elements()) {
    const StoredRows rows(p_, in);
    std::vector<std::uint16_t> codes(static_cast<std::size_t>(kPanel * pairs_ * 2));
    std::vector<std::int32_t> k(static_cast<std::size_t>(p_.K));
    std::vector<float> value(static_cast<std::size_t>(p_.K));
    for (std::int64_t panel = 0; panel < panels(); ++panel) {
      std::fill(codes.begin(), codes.end(), std::uint16_t{0});
      for (std::int64_t n = panel * kPanel; n < std::min(p_.N, (panel + 1) * kPanel); ++n) {
        const StoredRow row = rows.read(n, k.data(), value.data());
        for (std::size_t i = 0; i < static_cast<std::size_t>(row.count); ++i) {
          codes[static_cast<std::size_t>((k[i] / 2 * kPanel + n % kPanel) * 2 + k[i] % 2)] =
              static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value[i]) >> 16U);
        }
      }
      pack(codes, panel);
    }
  }

  [[nodiscard]] std::int64_t k_padded() const override { return pairs_; }
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
    Source source{mask_.data() + panel * pairs_ * kVectors,
                  reinterpret_cast<const std::byte*>(values_.data() + start_[panel])};
    if (x.count() <= kFusedStrips) {
      for (std::int64_t s = 0; s < x.count(); ++s) {
        dense_tile_of<V, kVectors>(x.height(), source, x.strip(s), pairs_ / 4, c + s * strip_sums);
      }
    } else {
      float* const chunk = c + x.count() * strip_sums;
      for (std::int64_t k = 0; k < pairs_; k += kChunk) {
        const std::int64_t k4 = std::min(kChunk, pairs_ - k) / 4;
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
  using Source = PairBitmapSource<V, kVectors>;
  static constexpr std::int64_t kPanel = kVectors * V::kLanes;
  /// Up to so many strips, expanding again costs less than a detour through memory.
  static constexpr std::int64_t kFusedStrips = 2;
  static constexpr std::int64_t kChunk = 256;  ///< pairs expanded at a time: 32 KiB of 32 rows

  // codes: [pair][row][2].
  void pack(const std::vector<std::uint16_t>& codes, std::int64_t panel) {
    std::int64_t place = start_[panel];
    for (std::int64_t i = 0; i < pairs_ * kVectors; ++i) {
      const std::uint16_t* vector = codes.data() + i * 2 * V::kLanes;
      std::uint32_t bits = 0;
      for (unsigned j = 0; j < 2 * V::kLanes; ++j) {
        if (vector[j] == 0) continue;
        bits |= 1U << j;
        values_[place++] = vector[j];
      }
      mask_[panel * pairs_ * kVectors + i] = bits;
    }
    start_[panel + 1] = place;
  }

  SparseProblem p_;
  std::int64_t pairs_;                 ///< pairs of columns in a row, a multiple of 4
  AlignedBuffer<std::uint32_t> mask_;  ///< [panel][pair][kVectors]
  AlignedBuffer<std::int64_t> start_;  ///< of a panel's values
  AlignedBuffer<std::uint16_t> values_;
};

}  // namespace pareto
