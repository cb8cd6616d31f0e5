// Dense matrices in panels: the factors of lowrank, and W written out where nothing is skipped.
// Included inside V's target region after panel_tiles.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/sparse/panel_tiles.h"

namespace pareto {

/// A dense w[N, K] as [panel][k][rows], a column's rows in the order of place_of_value.
template <typename V, DType kT, int kVectors>
class DensePanels : public PanelWeights {
 public:
  explicit DensePanels(const Tensor& w)
      : N_(w.shape[0]),
        k_padded_((w.shape[1] + 3) / 4 * 4),
        values_(panels() * kPanel * k_padded_ * kSize) {
    const std::int64_t K = w.shape[1];
    for (std::int64_t n = 0; n < N_; ++n) {
      std::byte* to = panel_data(n / kPanel) +
                      place_of_value<V, kT, kVectors>(static_cast<int>(n % kPanel)) * kSize;
      for (std::int64_t k = 0; k < K; ++k) {
        std::memcpy(to + k * kPanel * kSize, w.data + (n * K + k) * kSize, kSize);
      }
    }
  }

  [[nodiscard]] std::int64_t k_padded() const override { return k_padded_; }
  [[nodiscard]] std::int64_t panels() const override { return (N_ + kPanel - 1) / kPanel; }
  [[nodiscard]] std::int64_t first_row(std::int64_t panel) const override { return panel * kPanel; }
  [[nodiscard]] std::size_t bytes() const override { return values_.bytes(); }
  [[nodiscard]] std::int64_t workspace(const XStrips& x) const override {
    return x.height() * kPanel;
  }

  void multiply(std::int64_t panel, const XStrips& x, const PanelIsa& isa,
                const SparseEpilogue& epilogue, std::int64_t rows, float* c) const override {
    for (std::int64_t s = 0; s < x.count(); ++s) {
      std::fill_n(c, x.height() * kPanel, 0.0F);
      dense_tile_of<V, kVectors>(
          x.height(),
          StreamSource<V, kT, kVectors>{values_.data() + panel * kPanel * k_padded_ * kSize},
          x.strip(s), k_padded_ / 4, c);
      isa.finish(epilogue, s * x.height(), x.tokens(s), panel * kPanel, rows, c, kPanel);
    }
  }

 private:
  static constexpr int kPanel = kVectors * V::kLanes;
  static constexpr std::int64_t kSize = kT == DType::kF32 ? 4 : 2;

  std::byte* panel_data(std::int64_t panel) {
    return values_.data() + panel * kPanel * k_padded_ * kSize;
  }

  std::int64_t N_;
  std::int64_t k_padded_;
  AlignedBuffer<std::byte> values_;
};

}  // namespace pareto
