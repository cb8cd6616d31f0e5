// A prepared layer over sell_slices.h: x is widened into rows with a zero behind each (timed),
// every thread multiplies its chunk of rows with all tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/variant.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/sell_slices.h"
#include "kernels/sparse/stored_rows.h"
#include "kernels/widen.h"
#include "reference/sparse.h"

namespace pareto {

/// The functions of one instruction set.
struct SellIsa {
  int lanes = 0;
  /// c[token][stride] += W·x over slice s; x[token][x_stride].
  void (*multiply)(const SellSlices& w, std::int64_t s, std::int64_t tokens, const float* x,
                   std::int64_t x_stride, float* c, std::int64_t stride) = nullptr;
  decltype(PanelIsa::finish) finish = nullptr;
};

class SellSparse : public Prepared {
 public:
  SellSparse(const SparseProblem& problem, std::span<const Tensor> in, const SellIsa& isa,
             int threads)
      : p_(problem),
        isa_(isa),
        w_(problem, in, isa.lanes, threads),
        x_(problem.M * (problem.K + 1)) {
    for (int chunk = 0; chunk < w_.chunks(); ++chunk) sums_.emplace_back(p_.M * stride(chunk));
    if (p_.has_bias) bias_ = padded_bias(in[kSparseBias], isa.lanes);
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      for (std::int64_t m = 0; m < p_.M; ++m) {
        const auto [begin, end] = share_of(p_.K, thread, threads);
        widen(call.in[kSparseX], m * p_.K + begin, end - begin, x_.data() + m * (p_.K + 1) + begin);
      }
    });
    const SparseEpilogue epilogue{call.out[kSparseY], bias_.data(), p_.activation};
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(w_.chunks(), thread, threads);
      for (std::int64_t chunk = begin; chunk < end; ++chunk) {
        multiply(static_cast<int>(chunk), epilogue);
      }
    });
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  /// Of a token's sums: the chunk's rows, the dummy row, and what a vector reads behind them.
  [[nodiscard]] std::int64_t stride(int chunk) const { return w_.rows(chunk) + isa_.lanes; }

  void multiply(int chunk, const SparseEpilogue& epilogue) {
    AlignedBuffer<float>& sums = sums_[static_cast<std::size_t>(chunk)];
    std::fill_n(sums.data(), sums.size(), 0.0F);
    for (std::int64_t s = w_.first_slice(chunk); s < w_.first_slice(chunk + 1); ++s) {
      isa_.multiply(w_, s, p_.M, x_.data(), p_.K + 1, sums.data(), stride(chunk));
    }
    isa_.finish(epilogue, 0, p_.M, w_.first_row(chunk), w_.rows(chunk), sums.data(),
                static_cast<int>(stride(chunk)));
  }

  SparseProblem p_;
  SellIsa isa_;
  SellSlices w_;
  AlignedBuffer<float> x_;  ///< [M][K + 1]; the last column is 0
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<float>> sums_;  ///< per chunk: [M][stride]
};

}  // namespace pareto
