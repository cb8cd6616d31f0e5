// A prepared layer over sliced_rows.h: x is transposed into panels of tokens (timed), every thread
// multiplies its chunk of rows with one panel after the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/variant.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/sliced_rows.h"
#include "reference/sparse.h"

namespace pareto {

/// The functions of one instruction set.
struct SlicedIsa {
  SlicedShape (*shape)(std::int64_t M, double density) = nullptr;
  /// x from flat index `at`, `columns` of one row, to every `tokens`-th float of `out`.
  void (*scatter)(const Tensor& x, std::int64_t at, std::int64_t columns, std::int64_t tokens,
                  float* out) = nullptr;
  /// c[row][tokens] += W·x over one block.
  void (*multiply)(const SlicedShape& shape, std::span<const SlicedGroup> groups,
                   const SlicedEntry* entries, const float* x, float* c) = nullptr;
  /// y[m … m + count)[n … n + rows) from c[rows][tokens].
  void (*finish)(const SparseEpilogue& epilogue, std::int64_t m, std::int64_t count, std::int64_t n,
                 std::int64_t rows, const float* c, std::int64_t tokens) = nullptr;
};

class SlicedSparse : public Prepared {
 public:
  SlicedSparse(const SparseProblem& problem, std::span<const Tensor> in, const SlicedIsa& isa,
               int threads)
      : p_(problem),
        isa_(isa),
        w_(problem, in, isa.shape(problem.M, density(problem, in)), threads) {
    const std::int64_t tokens = w_.shape().tokens;
    panels_ = (p_.M + tokens - 1) / tokens;
    // One row of zeros behind each block: what padded entries multiply.
    x_ = AlignedBuffer<float>(panels_ * w_.blocks() * block_floats());
    for (int chunk = 0; chunk < w_.chunks(); ++chunk) {
      sums_.emplace_back((w_.rows(chunk) + 1) * tokens);
    }
    if (p_.has_bias) bias_ = padded_bias(in[kSparseBias], kBiasPadding);
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(panels_ * w_.blocks(), thread, threads);
      for (std::int64_t i = begin; i < end; ++i) pack(call.in[kSparseX], i);
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
  static constexpr std::int64_t kBiasPadding = 16;

  static double density(const SparseProblem& p, std::span<const Tensor> in) {
    const auto dense = static_cast<double>(p.N) * static_cast<double>(p.K);
    return dense > 0 ? static_cast<double>(in[kSparseValues].elements()) / dense : 0;
  }
  [[nodiscard]] std::int64_t block_floats() const {
    return (w_.shape().block + 1) * w_.shape().tokens;
  }

  void pack(const Tensor& x, std::int64_t i) {
    const SlicedShape& shape = w_.shape();
    const std::int64_t first = i / w_.blocks() * shape.tokens;
    const std::int64_t k = i % w_.blocks() * shape.block;
    const std::int64_t columns = std::min(shape.block, p_.K - k);
    for (std::int64_t t = 0; t < std::min<std::int64_t>(shape.tokens, p_.M - first); ++t) {
      isa_.scatter(x, (first + t) * p_.K + k, columns, shape.tokens,
                   x_.data() + i * block_floats() + t);
    }
  }

  void multiply(int chunk, const SparseEpilogue& epilogue) {
    const std::int64_t tokens = w_.shape().tokens;
    AlignedBuffer<float>& sums = sums_[static_cast<std::size_t>(chunk)];
    for (std::int64_t panel = 0; panel < panels_; ++panel) {
      std::fill_n(sums.data(), sums.size(), 0.0F);
      for (std::int64_t b = 0; b < w_.blocks(); ++b) {
        isa_.multiply(w_.shape(), w_.groups(chunk, b), w_.entries(),
                      x_.data() + (panel * w_.blocks() + b) * block_floats(), sums.data());
      }
      isa_.finish(epilogue, panel * tokens, std::min(tokens, p_.M - panel * tokens),
                  w_.first_row(chunk), w_.rows(chunk), sums.data(), tokens);
    }
  }

  SparseProblem p_;
  SlicedIsa isa_;
  SlicedRows w_;
  std::int64_t panels_ = 0;
  AlignedBuffer<float> x_;  ///< [panel][block][columns + 1][tokens]
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<float>> sums_;  ///< per chunk: [rows + 1][tokens]
};

}  // namespace pareto
