// A prepared layer over sliced_rows.h: x is transposed into panels of tokens (timed), every thread
// multiplies its chunk of rows with one panel after the other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/machine.h"
#include "harness/variant.h"
#include "kernels/sparse/panels.h"
#include "kernels/sparse/sliced_rows.h"
#include "reference/sparse.h"

namespace pareto {

/// The functions of one instruction set.
struct SlicedIsa {
  SlicedShape (*shape)(std::int64_t M, double density) = nullptr;
  /// x[m … m + count)[k … k + columns), transposed, to out[columns][tokens].
  void (*pack)(const Tensor& x, std::int64_t m, std::int64_t count, std::int64_t k,
               std::int64_t columns, std::int64_t tokens, float* out) = nullptr;
  /// c[row][tokens] += W·x over one block.
  void (*multiply)(const SlicedShape& shape, std::span<const SlicedGroup> groups,
                   const SlicedEntry* entries, const float* x, float* c) = nullptr;
  /// y[m … m + count)[n … n + rows) from c[rows][tokens], whose next three rows can be read.
  void (*finish)(const SparseEpilogue& epilogue, std::int64_t m, std::int64_t count, std::int64_t n,
                 std::int64_t rows, const float* c, std::int64_t tokens) = nullptr;
};

class SlicedSparse : public Prepared {
 public:
  SlicedSparse(const SparseProblem& problem, std::span<const Tensor> in, const SlicedIsa& isa,
               int threads)
      : SlicedSparse(problem, in, isa, isa.shape(problem.M, density(problem, in)), threads) {}

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(panels_ * w_.blocks(), thread, threads);
      for (std::int64_t i = begin; i < end; ++i) pack(call.in[kSparseX], i);
    });
    const SparseEpilogue epilogue{call.out[kSparseY], bias_.data(), p_.activation};
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(w_.chunks(), thread, threads);
      for (std::int64_t chunk = begin; chunk < end; ++chunk) {
        multiply(static_cast<int>(chunk), epilogue, sums_[static_cast<std::size_t>(thread)].data());
      }
    });
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  static constexpr std::int64_t kBiasPadding = 16;
  static constexpr std::int64_t kSpareRows = 3;  ///< the dummy row, and what `finish` reads

  SlicedSparse(const SparseProblem& problem, std::span<const Tensor> in, const SlicedIsa& isa,
               const SlicedShape& shape, int threads)
      : p_(problem),
        isa_(isa),
        w_(problem, in, shape, threads * chunks_per_thread(problem.N, shape.tokens, threads)),
        panels_((p_.M + shape.tokens - 1) / shape.tokens),
        // One row of zeros behind each block: what padded entries multiply.
        x_(panels_ * w_.blocks() * block_floats()) {
    std::int64_t most_rows = 0;
    for (int c = 0; c < w_.chunks(); ++c) most_rows = std::max(most_rows, w_.rows(c));
    for (int i = 0; i < threads; ++i) sums_.emplace_back((most_rows + kSpareRows) * shape.tokens);
    if (p_.has_bias) bias_ = padded_bias(in[kSparseBias], kBiasPadding);
  }

  /// So many that the sums of a chunk, which every block of columns passes over, stay in a quarter
  /// of L2.
  static int chunks_per_thread(std::int64_t N, int tokens, int threads) {
    constexpr std::int64_t kL2IfUnknown = 1 << 20;
    const std::int64_t known = this_machine().cache_bytes(2);
    const std::int64_t room = (known > 0 ? known : kL2IfUnknown) / 4;
    const std::int64_t sums = N / threads * tokens * static_cast<std::int64_t>(sizeof(float));
    return static_cast<int>(std::max<std::int64_t>(1, (sums + room - 1) / room));
  }
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
    isa_.pack(x, first, std::min<std::int64_t>(shape.tokens, p_.M - first), k, columns,
              shape.tokens, x_.data() + i * block_floats());
  }

  void multiply(int chunk, const SparseEpilogue& epilogue, float* sums) const {
    const std::int64_t tokens = w_.shape().tokens;
    for (std::int64_t panel = 0; panel < panels_; ++panel) {
      std::fill_n(sums, w_.rows(chunk) * tokens, 0.0F);
      for (std::int64_t b = 0; b < w_.blocks(); ++b) {
        isa_.multiply(w_.shape(), w_.groups(chunk, b), w_.entries(),
                      x_.data() + (panel * w_.blocks() + b) * block_floats(), sums);
      }
      isa_.finish(epilogue, panel * tokens, std::min(tokens, p_.M - panel * tokens),
                  w_.first_row(chunk), w_.rows(chunk), sums, tokens);
    }
  }

  SparseProblem p_;
  SlicedIsa isa_;
  SlicedRows w_;
  std::int64_t panels_;
  AlignedBuffer<float> x_;  ///< [panel][block][columns + 1][tokens]
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<float>> sums_;  ///< per thread: [rows + kSpareRows][tokens]
};

}  // namespace pareto
