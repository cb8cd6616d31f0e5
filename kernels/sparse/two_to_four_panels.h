// 2:4 W in panels: the two values of a group are multiplied with the two x that their indices pick
// by an in-register permutation, so that the zeros cost nothing. Included inside V's target region
// after panel_tiles.h.
//
// A vector of rows is one stream: per pair of groups (8 columns) one byte per row with the indices
// of both groups (2 bits each: first and second of the even group, then of the odd one), then four
// vectors of values: first and second of the even group, of the odd group.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

#include "kernels/sparse/panel_tiles.h"

namespace pareto {

/// c[kRows][stride] = x·wᵀ for kVectors vectors of rows, whose streams are `stream_bytes` apart.
template <typename V, DType kT, int kRows, int kVectors>
void two_to_four_tile(const std::byte* w, std::int64_t stream_bytes, const float* x,
                      std::int64_t pairs, float* c, int stride) {
  constexpr std::int64_t kVectorBytes = V::kLanes * (kT == DType::kF32 ? 4 : 2);
  typename V::Reg sum[kRows][kVectors];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = V::zero();
  }
  for (; pairs > 0; --pairs, x += 8 * kRows, w += V::kLanes + 4 * kVectorBytes) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const std::byte* p = w + v * stream_bytes;
      auto index = V::load_control(p);
      p += V::kLanes;
#pragma GCC unroll 2
      for (int group = 0; group < 2; ++group) {
#pragma GCC unroll 2
        for (int b = 0; b < 2 * kVectorBytes; b += 64) fetch_stream<kRows>(p + b);
        const auto first = V::template widen<kT>(p);
        const auto second = V::template widen<kT>(p + kVectorBytes);
        p += 2 * kVectorBytes;
        const auto index_of_second = V::template shift<2>(index);
#pragma GCC unroll 12
        for (int i = 0; i < kRows; ++i) {
          const auto four = V::broadcast4(x + (group * kRows + i) * 4);
          sum[i][v] = V::fma(first, V::permute4(four, index), sum[i][v]);
          sum[i][v] = V::fma(second, V::permute4(four, index_of_second), sum[i][v]);
        }
        index = V::template shift<4>(index);
      }
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) V::store(c + i * stride + v * V::kLanes, sum[i][v]);
  }
}

/// Both vectors of a panel for a strip of kRows tokens: side by side where few tokens would leave
/// the FMA units waiting, else one after the other, so that everything stays in registers.
template <typename V, DType kT, int kRows>
void two_to_four_panel(const std::byte* w, std::int64_t stream_bytes, const float* x,
                       std::int64_t pairs, float* c) {
  constexpr int kStride = 2 * V::kLanes;
  if constexpr (kRows <= V::kLanes / 4) {
    two_to_four_tile<V, kT, kRows, 2>(w, stream_bytes, x, pairs, c, kStride);
  } else {
    for (int v = 0; v < 2; ++v) {
      two_to_four_tile<V, kT, kRows, 1>(w + v * stream_bytes, stream_bytes, x, pairs,
                                        c + v * V::kLanes, kStride);
    }
  }
}

template <typename V, DType kT>
class TwoToFourPanels : public PanelWeights {
 public:
  static constexpr std::int64_t kChunkColumns = 64;
  /// Up to so many columns of a panel.
  struct Chunk {
    const std::byte* w = nullptr;
    std::int64_t stream_bytes = 0;  ///< from one vector of rows to the next
    std::int64_t pairs = 0;         ///< of groups
  };

  TwoToFourPanels(const SparseProblem& problem, std::span<const Tensor> in)
      : p_(problem),
        pairs_((p_.groups_of_4() + 1) / 2),
        stream_bytes_(pairs_ * kPairBytes),
        stream_(panels() * kVectors * stream_bytes_) {
    for (std::int64_t n = 0; n < p_.N; ++n) pack_row(in, n);
  }

  /// From column k on, a multiple of kChunkColumns.
  [[nodiscard]] Chunk chunk(std::int64_t panel, std::int64_t k) const {
    return {stream_.data() + panel * kVectors * stream_bytes_ + k / 8 * kPairBytes, stream_bytes_,
            std::min(kChunkColumns / 8, pairs_ - k / 8)};
  }
  /// To fp32, [column][row].
  static void expand(const Chunk& chunk, float* w) {
    constexpr std::int64_t kVectorBytes = V::kLanes * kSize;
    const std::byte* panel = chunk.w;
    for (std::int64_t pair = 0; pair < chunk.pairs; ++pair, panel += kPairBytes, w += 8 * kPanel) {
      for (int v = 0; v < kVectors; ++v) {
        const std::byte* p = panel + v * chunk.stream_bytes;
        auto index = V::load_control(p);
        p += V::kLanes;
        for (int group = 0; group < 2; ++group, p += 2 * kVectorBytes) {
          typename V::Reg column[4];
          V::place_two(V::template widen<kT>(p), V::template widen<kT>(p + kVectorBytes), index,
                       column);
          for (int k = 0; k < 4; ++k) {
            V::store(w + (group * 4 + k) * kPanel + v * V::kLanes, column[k]);
          }
          index = V::template shift<4>(index);
        }
      }
    }
  }

  [[nodiscard]] std::int64_t k_padded() const override { return pairs_ * 8; }
  [[nodiscard]] std::int64_t panels() const override { return (p_.N + kPanel - 1) / kPanel; }
  [[nodiscard]] std::int64_t first_row(std::int64_t panel) const override { return panel * kPanel; }
  [[nodiscard]] std::size_t bytes() const override { return stream_.bytes(); }
  [[nodiscard]] std::int64_t workspace(const XStrips& x) const override {
    return x.height() * kPanel;
  }

  void multiply(std::int64_t panel, const XStrips& x, const PanelIsa& isa,
                const SparseEpilogue& epilogue, std::int64_t rows, float* c) const override {
    for (std::int64_t s = 0; s < x.count(); ++s) {
      tile(x.height(), stream_.data() + panel * kVectors * stream_bytes_, x.strip(s), c,
           std::make_index_sequence<kStripHeights<V, kVectors>.size()>());
      isa.finish(epilogue, s * x.height(), x.tokens(s), panel * kPanel, rows, c, kPanel);
    }
  }

 private:
  static constexpr int kVectors = 2;
  static constexpr int kPanel = kVectors * V::kLanes;
  static constexpr std::int64_t kSize = kT == DType::kF32 ? 4 : 2;
  static constexpr std::int64_t kPairBytes = V::kLanes * (1 + 4 * kSize);

  template <std::size_t... kIndex>
  void tile(int height, const std::byte* w, const float* x, float* c,
            std::index_sequence<kIndex...> /*heights*/) const {
    using Tile = void (*)(const std::byte*, std::int64_t, const float*, std::int64_t, float*);
    constexpr Tile kTiles[] = {&two_to_four_panel<V, kT, kStripHeights<V, kVectors>[kIndex]>...};
    for (std::size_t i = 0; i < sizeof...(kIndex); ++i) {
      if (kStripHeights<V, kVectors>[i] == height) kTiles[i](w, stream_bytes_, x, pairs_, c);
    }
  }

  void pack_row(std::span<const Tensor> in, std::int64_t n) {
    const std::uint8_t* meta = in[kSparseMeta].as<const std::uint8_t>() + n * p_.meta_row_bytes();
    const std::byte* values = in[kSparseValues].data + n * p_.groups_of_4() * 2 * kSize;
    const std::int64_t lane = n % V::kLanes;
    std::byte* to = stream_.data() + n / V::kLanes * stream_bytes_;
    for (std::int64_t pair = 0; pair < pairs_; ++pair, to += kPairBytes) {
      to[lane] = static_cast<std::byte>(meta[pair]);  // both nibbles, as they stand
      for (std::int64_t i = 0; i < 4 && pair * 4 + i < p_.groups_of_4() * 2; ++i) {
        std::memcpy(to + V::kLanes + (i * V::kLanes + lane) * kSize,
                    values + (pair * 4 + i) * kSize, kSize);
      }
    }
  }

  SparseProblem p_;
  std::int64_t pairs_;         ///< pairs of groups in a row
  std::int64_t stream_bytes_;  ///< of one vector of rows
  AlignedBuffer<std::byte> stream_;
};

}  // namespace pareto
