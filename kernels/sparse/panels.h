// Sparse layers by panels of rows of W: lanes are rows, so that y is stored as it is computed, and
// x is broadcast.
//
// The plan of one call: x is packed into strips (timed), then each thread takes its panels, and
// every panel meets every strip in a tile whose sums stay in registers over all of K. What differs
// between formats is how a panel is stored and multiplied: see the classes derived from
// PanelWeights.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "harness/variant.h"
#include "kernels/sparse/x_strips.h"
#include "reference/sparse.h"

namespace pareto {

/// What happens to sums on the way to y.
struct SparseEpilogue {
  Tensor y;                     ///< [M, N]
  const float* bias = nullptr;  ///< readable up to a whole panel behind N; null: none
  Activation activation = Activation::kNone;
};

/// The bias with zeros behind it, so that whole vectors can be read.
inline AlignedBuffer<float> padded_bias(const Tensor& bias, std::int64_t padding) {
  AlignedBuffer<float> padded(bias.elements() + padding);
  std::copy_n(bias.as<const float>(), bias.elements(), padded.data());
  return padded;
}

/// The functions of one instruction set that panels of every format use.
struct PanelIsa {
  int panel_rows = 0;            ///< rows of W side by side
  std::span<const int> heights;  ///< tokens of a strip, ascending
  /// x[m, 0 … K) into four columns every 4·height floats.
  void (*pack_token)(const Tensor& x, std::int64_t m, std::int64_t K, std::int64_t height,
                     float* out) = nullptr;
  /// y[m … m + tokens)[n … n + rows) from c[tokens][stride].
  void (*finish)(const SparseEpilogue& epilogue, std::int64_t m, std::int64_t tokens,
                 std::int64_t n, std::int64_t rows, const float* c, int stride) = nullptr;
};

/// W in panels of some format.
class PanelWeights {
 public:
  virtual ~PanelWeights() = default;
  /// K rounded up to what a tile reads of x.
  [[nodiscard]] virtual std::int64_t k_padded() const = 0;
  [[nodiscard]] virtual std::int64_t panels() const = 0;
  /// First row of a panel; its rows end at the next panel's first, or at N.
  [[nodiscard]] virtual std::int64_t first_row(std::int64_t panel) const = 0;
  [[nodiscard]] virtual std::size_t bytes() const = 0;
  /// Floats of workspace that `multiply` takes, per thread.
  [[nodiscard]] virtual std::int64_t workspace(const XStrips& x) const = 0;
  /// Multiplies a panel with every strip; calls `finish` for each.
  virtual void multiply(std::int64_t panel, const XStrips& x, const PanelIsa& isa,
                        const SparseEpilogue& epilogue, std::int64_t rows,
                        float* workspace) const = 0;
  /// The same for panels begin … end of a layer of N rows.
  virtual void multiply_all(std::int64_t begin, std::int64_t end, std::int64_t N, const XStrips& x,
                            const PanelIsa& isa, const SparseEpilogue& epilogue,
                            float* workspace) const {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      multiply(panel, x, isa, epilogue, rows_of(panel, N), workspace);
    }
  }

 protected:
  [[nodiscard]] std::int64_t rows_of(std::int64_t panel, std::int64_t N) const {
    return (panel + 1 < panels() ? first_row(panel + 1) : N) - first_row(panel);
  }
};

/// Packs x[M, K] into strips.
inline void pack_strips(const Tensor& x, std::int64_t M, std::int64_t K, const PanelIsa& isa,
                        XStrips& strips, ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(M, thread, threads);
    for (std::int64_t m = begin; m < end; ++m) {
      isa.pack_token(x, m, K, strips.height(), strips.token(m));
    }
  });
}

/// y = f(x·Wᵀ + bias) for W of N rows; one workspace per thread.
inline void multiply_panels(const PanelWeights& weights, std::int64_t N, const XStrips& x,
                            const PanelIsa& isa, const SparseEpilogue& epilogue,
                            std::vector<AlignedBuffer<float>>& workspace, ThreadPool& pool) {
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(weights.panels(), thread, threads);
    weights.multiply_all(begin, end, N, x, isa, epilogue,
                         workspace[static_cast<std::size_t>(thread)].data());
  });
}

/// A prepared layer over any PanelWeights.
class PanelSparse : public Prepared {
 public:
  PanelSparse(const SparseProblem& problem, std::span<const Tensor> in, const PanelIsa& isa,
              std::unique_ptr<PanelWeights> weights, int threads)
      : p_(problem),
        isa_(isa),
        weights_(std::move(weights)),
        x_(problem.M, weights_->k_padded(), isa.heights) {
    if (p_.has_bias) bias_ = padded_bias(in[kSparseBias], isa.panel_rows);
    for (int i = 0; i < threads; ++i) workspace_.emplace_back(weights_->workspace(x_));
  }

  void run(const Call& call) override {
    pack_strips(call.in[kSparseX], p_.M, p_.K, isa_, x_, call.pool);
    const SparseEpilogue epilogue{call.out[kSparseY], bias_.data(), p_.activation};
    multiply_panels(*weights_, p_.N, x_, isa_, epilogue, workspace_, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return weights_->bytes() + bias_.bytes();
  }

 private:
  SparseProblem p_;
  PanelIsa isa_;
  std::unique_ptr<PanelWeights> weights_;
  XStrips x_;
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<float>> workspace_;
};

}  // namespace pareto
